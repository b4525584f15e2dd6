# SPDX-License-Identifier: GPL-2.0-only
"""Module build: the shipped sources to a module for one kernel, outside of any source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import agenttune
from agenttune.errors import HostError, InputError
from agenttune.host.modinfo import Modinfo, read_modinfo
from agenttune.host.module import BUILDS, MODULE, headers_remedy
from agenttune.host.tree import Tree

_SOURCES = ("*.c", "*.h", "Kbuild", "uapi/*.h")
_DKMS = "dkms.conf"
_LOG = "build.log"
_SHOWN_LINES = 15


@dataclass(frozen=True, slots=True)
class Built:
    """A module that was built, and what its file says. `seconds`: how long it took."""

    release: str
    path: str
    vermagic: str
    srcversion: str
    signed: bool
    seconds: float


def build(release: str, *, headers: Path | None = None, into: Path = Path(BUILDS)) -> Built:
    """Build for kernel `release`; the file replaces an earlier one when it is complete.

    `headers` is the kernel's build folder, /lib/modules/RELEASE/build by default. Raises HostError
    for what is missing, and for a failed build with the end of its log.
    """
    folder = headers or Path(f"/lib/modules/{release}/build")
    _check_tools(release, folder)
    target = into / release
    _make_target(target)
    begin = time.monotonic()
    with TemporaryDirectory(dir=target, prefix="work.") as work:
        write_sources(Path(work))
        _run(release, folder, Path(work) / "kmod", target / _LOG)
        made = Path(work) / "kmod" / f"{MODULE}.ko"
        found = read_modinfo(made)
        if found is None:
            raise HostError(f"the build made no module; its log is {target / _LOG}")
        _check_release(found, release, folder)
        made.chmod(0o644)
        made.rename(target / f"{MODULE}.ko")
    return Built(
        release=release,
        path=str(target / f"{MODULE}.ko"),
        vermagic=found.vermagic,
        srcversion=found.srcversion,
        signed=found.signed,
        seconds=time.monotonic() - begin,
    )


def write_sources(into: Path) -> None:
    """kmod/ and bpf/ as the module's Kbuild expects them beside each other."""
    kmod, bpf = _source_folders()
    for source, patterns in ((kmod, _SOURCES), (bpf, ("*.h",))):
        name = "kmod" if source is kmod else "bpf"
        for pattern in patterns:
            for file in sorted(source.glob(pattern)):
                copy = into / name / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def write_dkms_tree(into: Path) -> None:
    """A source tree for 'dkms add'. Raises InputError for a folder that has something in it."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise InputError(f"{into} is not empty", hint="Give --dkms-tree a new folder.")
        write_sources(into)
        shutil.copyfile(_source_folders()[0] / _DKMS, into / _DKMS)
    except OSError as error:
        raise HostError(f"{into}: cannot be written: {error.strerror}") from error


def _source_folders() -> tuple[Path, Path]:
    """(kmod, bpf): of the installed package, else of the checkout that it runs from."""
    package = Path(agenttune.__file__).parent
    installed = (package / "kmod", package / "measure" / "bpf")
    checkout = (package.parent / "kmod", package.parent / "bpf")
    found = next((pair for pair in (installed, checkout) if (pair[0] / "Kbuild").is_file()), None)
    if found is None:
        raise HostError(
            "the module's sources are not in this installation of agenttune",
            hint="Install it from its wheel, or run it from its tree.",
        )
    return found


def _check_tools(release: str, folder: Path) -> None:
    tree = Tree(Path("/"))
    if not (folder / "Makefile").is_file():
        raise HostError(
            f"the headers of kernel {release} are not installed: there is no {folder}",
            hint=headers_remedy(tree, release),
        )
    if shutil.which("make") is None:
        raise HostError("make is not installed", hint=_install("make"))
    wanted = ("clang", "ld.lld") if _built_with_clang(folder) else ("gcc", "ld")
    missing = [tool for tool in wanted if shutil.which(tool) is None]
    if missing:
        packages = {"gcc": "gcc", "ld": "binutils", "clang": "clang", "ld.lld": "lld"}
        raise HostError(
            f"kernel {release} was built with {wanted[0]}, but {' and '.join(missing)} "
            "is not installed",
            hint=_install(*(packages[tool] for tool in missing)),
        )


def _install(*packages: str) -> str:
    return f"Install the package {' '.join(packages)}, with your system's package manager."


def _built_with_clang(folder: Path) -> bool:
    try:
        return "CONFIG_CC_IS_CLANG=y" in (folder / "include/config/auto.conf").read_text()
    except OSError:
        return False


def _make_target(target: Path) -> None:
    """Only root may put a file where a module is loaded from."""
    try:
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"{target}: cannot be made: {error.strerror}",
            hint="Run the same command with sudo, or give --into DIR.",
        ) from error


def _run(release: str, folder: Path, sources: Path, log: Path) -> None:
    # The user's CC, CFLAGS or ARCH are for other builds than the kernel's.
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
    }
    command = ["make", f"-j{os.cpu_count() or 1}", "-C", str(folder), f"M={sources}", "modules"]
    if _built_with_clang(folder):
        command.append("LLVM=1")
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        raise HostError(
            f"building for kernel {release} failed (make exited with {done.returncode}):\n  "
            + "\n  ".join(lines),
            hint=f"The whole log is {log}.",
        )


def _check_release(found: Modinfo, release: str, folder: Path) -> None:
    if found.release != release:
        raise HostError(
            f"{folder} is for kernel {found.release}, not {release}",
            hint=f"Give the headers of {release}, or --kernel {found.release}.",
        )
