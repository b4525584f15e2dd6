# SPDX-License-Identifier: GPL-2.0-only
"""A fake host that takes the kernel module agent_latency, or refuses it."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from pathlib import Path

from change_host import FakeKernel, add_task

from agenttune.host.module import BUILDS, MODULE, SETTINGS, SYSFS
from agenttune.policy.module import DEFAULTS

RELEASE = "6.12.0-test"
VERMAGIC = f"{RELEASE} SMP preempt mod_unload modversions "


class ModuleKernel(FakeKernel):
    """Keeps the module's folders as the kernel does. `refuses_load`, `refuses_unload`: errnos."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.refuses_load: int | None = None
        self.refuses_unload: int | None = None
        self.loads: list[str] = []
        self._nodes = itertools.count(1)

    def load_module(self, path: str) -> None:
        self._refuse(self.refuses_load)
        self.loads.append(path)
        folder = self.root / SYSFS[1:]
        folder.mkdir(parents=True)
        # An inode number that a later load does not have again.
        (self.root / f"taken.{next(self._nodes)}").touch()
        for name, text in (("initstate", "live"), ("version", "0.1.0"), ("refcnt", "0")):
            (folder / name).write_text(text + "\n")
        (folder / "holders").mkdir()
        settings = self.root / SETTINGS[1:]
        settings.mkdir(parents=True)
        for name, value in DEFAULTS.items():
            (settings / name).write_text(value + "\n")

    def unload_module(self, name: str) -> None:
        assert name == MODULE
        self._refuse(self.refuses_unload)
        for folder in (SYSFS, SETTINGS):
            shutil.rmtree(self.root / folder[1:])

    def identity(self, path: str) -> int | None:
        """The tree's inode numbers are used again at once, kernfs's are not."""
        return len(self.loads) if path == SYSFS else super().identity(path)

    def write_once(self, path: str, text: str) -> str:
        if not path.startswith(SETTINGS):
            return super().write_once(path, text)
        self._fail(path)
        self.written.append(path)
        Path(self.tree.path(path)).write_text(text)
        return text

    def setting(self, name: str) -> str:
        return self.read(f"{SETTINGS}/{name}").strip()

    @staticmethod
    def _refuse(code: int | None) -> None:
        if code is not None:
            raise OSError(code, os.strerror(code))


def with_module(kernel: FakeKernel, vermagic: str = VERMAGIC) -> ModuleKernel:
    """The host, with a build of the module for it."""
    release = kernel.root / "proc/sys/kernel/osrelease"
    release.write_text(RELEASE + "\n")
    (kernel.root / SYSFS[1:]).parent.mkdir(parents=True, exist_ok=True)
    build = kernel.root / BUILDS[1:] / RELEASE / f"{MODULE}.ko"
    build.parent.mkdir(parents=True, exist_ok=True)
    build.write_bytes(make_ko(vermagic))
    return ModuleKernel(kernel.root)


def make_ko(vermagic: str, *, signed: bool = False) -> bytes:
    """The least ELF file that has a .modinfo section."""
    modinfo = f"version=0.1.0\0srcversion=ABCDEF\0vermagic={vermagic}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64
    body = modinfo + names
    sections = (
        struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, start, len(modinfo), 0, 0, 1, 0),
        struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, start + len(modinfo), len(names), 0, 0, 1, 0),
    )
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    numbers = (1, 62, 1, 0, 0, start + len(body), 0, 64, 0, 0, 64, len(sections), 2)
    header = ident + struct.pack("<HHIQQQIHHHHHH", *numbers)
    signature = b"~Module signature appended~\n" if signed else b""
    return header + body + b"".join(sections) + signature


def hold_device(root: Path, pid: int, comm: str = "agent") -> None:
    """A process that has the device open."""
    add_task(root, pid, pid, comm=comm, start=pid)
    folder = root / f"proc/{pid}/fd"
    folder.mkdir()
    (folder / "7").symlink_to("/dev/agent_latency")
