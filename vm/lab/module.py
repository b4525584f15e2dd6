# SPDX-License-Identifier: GPL-2.0-only
"""Where the builds of the kernel module are: by kernel release, and by what went into each.

Several checkouts share a cache, so a build is found by the hash of its sources, never by its date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.lab.cache import Cache
from vm.lab.errors import SetupMissing
from vm.lab.kernels import setup_command

TREE = Path(__file__).resolve().parents[2]
NAME = "agent_latency"
BUILDER = Path(__file__).with_name("module_build.py")


@dataclass(frozen=True)
class Variant:
    """One way to build for one kernel. `arguments` go to make as they are."""

    kernel: str
    llvm: bool = False
    sparse: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """What tells its folder from that of the plain build."""
        return ("-llvm" if self.llvm else "") + ("-sparse" if self.sparse else "")


def release(cache: Cache, kernel: str) -> str:
    """What `uname -r` says under `kernel`. Raises SetupMissing."""
    path = cache.kernel(kernel) / "release"
    if not path.exists():
        raise SetupMissing(f"{path} is missing: run '{setup_command(kernel)}' first")
    return path.read_text().strip()


def kernel_tree(cache: Cache, kernel: str) -> Path:
    """The folder that kbuild runs in. Raises SetupMissing."""
    tree = cache.kernel(kernel) / "lib/modules" / release(cache, kernel) / "build"
    if not (tree / "Makefile").exists():
        raise SetupMissing(f"{tree} is no kernel tree: run '{setup_command(kernel)}' first")
    return tree


def sources(tree: Path = TREE) -> list[Path]:
    """The files that a build takes in, relative to `tree`: kmod/ and the core it shares."""
    found = [
        path
        for path in (tree / "kmod").rglob("*")
        if path.is_file() and (path.suffix in {".c", ".h"} or path.name in {"Kbuild", "Makefile"})
    ]
    found += (tree / "bpf").glob("*.h")
    return sorted(path.relative_to(tree) for path in found)


def build_directory(cache: Cache, variant: Variant, tree: Path = TREE) -> Path:
    """The folder of `variant` built from the sources as they are now, there yet or not."""
    made = hashlib.sha256()
    for path in sources(tree):
        made.update(f"{path}\0".encode() + (tree / path).read_bytes() + b"\0")
    made.update(BUILDER.read_bytes() + "\0".join(variant.arguments).encode())
    made.update((kernel_tree(cache, variant.kernel) / ".config").read_bytes())
    folder = release(cache, variant.kernel) + variant.suffix
    return cache.root / "kmod" / folder / made.hexdigest()[:16]


def built_module(cache: Cache, kernel: str, tree: Path = TREE) -> Path:
    """The file to load under `kernel`, built from the sources as they are now.

    Raises SetupMissing when there is none yet.
    """
    path = build_directory(cache, Variant(kernel), tree) / f"{NAME}.ko"
    if not path.exists():
        raise SetupMissing(
            f"{path} is missing: run 'vm/build-module --kernel {kernel}' outside the guest first"
        )
    return path


def outdated(folder: Path, keep: int) -> Sequence[Path]:
    """The builds of one release beyond the `keep` newest."""
    builds = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return builds[keep:]
