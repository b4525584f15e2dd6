# SPDX-License-Identifier: GPL-2.0-only
"""Loader: a kernel module into the kernel and out of it, by system call.

Not by modprobe: its configuration may add parameters, run commands or load another file than the
one that was checked, and it turns the kernel's errno into words. The descriptor that is checked
here is the one that the kernel reads.
"""

from __future__ import annotations

import ctypes
import lzma
import os
import platform
import stat
from pathlib import Path

from agenttune.errors import HostError

# (finit_module, delete_module): arch/x86/entry/syscalls/syscall_64.tbl; asm-generic/unistd.h.
_NUMBERS = {"x86_64": (313, 176), "aarch64": (273, 106), "riscv64": (273, 106)}
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def load(file: Path, parameters: str = "") -> None:
    """Raises OSError with the kernel's errno, HostError for a file that others may write."""
    descriptor = os.open(file, _FLAGS)
    try:
        _refuse_unsafe(file, os.fstat(descriptor))
        if file.suffix == ".xz":
            descriptor = _unpacked(descriptor)
        _call(0, descriptor, parameters.encode(), 0)
    finally:
        os.close(descriptor)


def unload(name: str) -> None:
    """Raises BlockingIOError (EWOULDBLOCK) while it is in use; never waits, never forces."""
    _call(1, name.encode(), os.O_NONBLOCK)


def _refuse_unsafe(file: Path, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
        return
    raise HostError(
        f"{file} is not loaded: it is no regular file that root alone may write",
        hint="Build it again with 'agenttune module build'.",
    )


def _unpacked(descriptor: int) -> int:
    """A copy in memory of what the file holds; takes the descriptor over."""
    with os.fdopen(descriptor, "rb") as file:
        data = lzma.decompress(file.read())
    memory = os.memfd_create("module", os.MFD_CLOEXEC)
    os.write(memory, data)
    # A file that is open for writing is refused (kernel_read_file(), fs/kernel_read_file.c, v6.12).
    readable = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(memory)
    return readable


def _call(which: int, *arguments: object) -> None:
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        raise HostError(f"modules cannot be loaded on {platform.machine()} by this program")
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    if system_call(numbers[which], *arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
