# SPDX-License-Identifier: GPL-2.0-only
"""Builds the kernel module outside the checkout, with every warning on and none allowed."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vm.lab.cache import Cache, cache_root
from vm.lab.clang_tree import clang_arguments, clang_tree
from vm.lab.errors import LabError
from vm.lab.kernels import GUESTS, HEADERS_ONLY
from vm.lab.module import (
    NAME,
    TREE,
    Variant,
    build_directory,
    kernel_tree,
    outdated,
    release,
    sources,
)

KEPT_BUILDS = 12
# Debian's headers of 6.1 come without the vmlinux that a module's BTF is made against.
_HARMLESS = re.compile(r"^Skipping BTF generation for .* due to unavailability of vmlinux$")


class BuildFailed(LabError):
    """The module did not build without a warning; the message has what the tools said."""

    exit_code = 1


def build(cache: Cache, variant: Variant, tree: Path = TREE) -> Path:
    """The folder of `variant`, built unless it is there. Raises BuildFailed, SetupMissing."""
    directory = build_directory(cache, variant, tree)
    module = directory / f"{NAME}.ko"
    if module.exists():
        os.utime(directory)
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=cache.root / "kmod") as work:
        made = _make(cache, variant, tree, Path(work))
        finished = Path(work) / "finished"
        finished.mkdir()
        shutil.copy2(made, finished)
        shutil.rmtree(directory, ignore_errors=True)
        finished.rename(directory)
    for old in outdated(directory.parent, KEPT_BUILDS):
        shutil.rmtree(old, ignore_errors=True)
    return directory


def _make(cache: Cache, variant: Variant, tree: Path, work: Path) -> Path:
    """Runs kbuild on a copy of the sources below `work`."""
    kernel = kernel_tree(cache, variant.kernel)
    for path in sources(tree):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / path, work / path)
    if not (work / "kmod").is_dir():
        raise BuildFailed(f"{tree}/kmod has no sources")
    arguments = [f"M={work / 'kmod'}", "W=1", *variant.arguments]
    if variant.llvm:
        kernel = clang_tree(kernel, work / "kernel")
        arguments += clang_arguments()
    if variant.sparse:
        arguments.append("C=2")
    done = subprocess.run(
        ["make", "-s", f"-j{os.cpu_count()}", "-C", kernel, *arguments, "modules"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line and not _HARMLESS.match(line)]
    if done.returncode != 0 or said:
        text = "\n".join(said).replace(f"{work}/", "")
        where = f"{release(cache, variant.kernel)}{variant.suffix}"
        raise BuildFailed(f"the module does not build cleanly for {where}:\n{text}")
    return work / "kmod" / f"{NAME}.ko"


def main(argv: list[str]) -> int:
    """Builds what `argv` asks for and prints where each module is."""
    parser = argparse.ArgumentParser(
        prog="vm/build-module",
        description="Builds kmod/ for kernels of the lab, at W=1; any warning is a failure.",
        usage="%(prog)s [option]... [-- MAKE ARGUMENTS]",
    )
    parser.add_argument(
        "--kernel", action="append", choices=(*GUESTS, *HEADERS_ONLY), help="default: 6.12"
    )
    parser.add_argument("--llvm", action="store_true", help="with clang and lld")
    parser.add_argument("--sparse", action="store_true", help="under sparse too (C=2)")
    parser.add_argument("arguments", nargs="*", metavar="MAKE ARGUMENT")
    values = parser.parse_args(argv)
    cache = Cache(cache_root())
    try:
        for kernel in values.kernel or ["6.12"]:
            variant = Variant(kernel, values.llvm, values.sparse, tuple(values.arguments))
            print(build(cache, variant) / f"{NAME}.ko")
    except LabError as error:
        print(f"vm/build-module: {error}", file=sys.stderr)
        return error.exit_code
    return 0
