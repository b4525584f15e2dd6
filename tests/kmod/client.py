# SPDX-License-Identifier: GPL-2.0-only
"""Attaches threads to the module and marks steps, as kmod/uapi/agent_latency.h describes it."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trace_instance import trace_instance

DEVICE = Path("/dev/agent_latency")
DEBUGFS = Path("/sys/kernel/debug/agent_latency")
SYSCTLS = Path("/proc/sys/kernel/agent_latency")
# _IOWR(0xA7, number, size): 24 bytes for INFO, 16 for ATTACH and DETACH.
INFO, ATTACH, DETACH = 0xC018A700, 0xC010A701, 0xC010A702
PRCTL, BLOCK, SOCKET, NAPI, GUARDRAIL = 1, 2, 4, 8, 16
_MARK, _BEGIN, _END, _BIND, _UNBIND = 0x41475354, 1, 2, 3, 4
_SLOT_BYTES = 64
_SO_COOKIE = 57
_libc = ctypes.CDLL(None, use_errno=True)
_WORD = ctypes.c_ulong


def mark(op: int, step_id: int, third: int = 0, budget: int = 0) -> None:
    _libc.prctl(_MARK, _WORD(op), _WORD(step_id), _WORD(third), _WORD(budget))


@contextmanager
def step(step_id: int, *, deadline_ns: int = 0, budget_us: int = 0) -> Iterator[None]:
    """A step marked by prctl()."""
    mark(_BEGIN, step_id, deadline_ns, budget_us)
    try:
        yield
    finally:
        mark(_END, step_id)


def bind(step_id: int, sock: object) -> int:
    cookie = struct.unpack("Q", sock.getsockopt(1, _SO_COOKIE, 8))[0]  # type: ignore[attr-defined]
    mark(_BIND, step_id, cookie)
    return int(cookie)


@dataclass
class Client:
    """An open file of the device."""

    fd: int

    def attach(self, tid: int = 0) -> int:
        """The slot that the thread got."""
        answer = fcntl.ioctl(self.fd, ATTACH, struct.pack("IiII", 16, tid, 0, 0))
        return int(struct.unpack("IiII", answer)[2])

    def detach(self, tid: int = 0) -> None:
        fcntl.ioctl(self.fd, DETACH, struct.pack("IiII", 16, tid, 0, 0))

    def info(self) -> tuple[int, int, int]:
        """Version, features, attached threads."""
        answer = fcntl.ioctl(self.fd, INFO, struct.pack("IIQII", 24, 0, 0, 0, 0))
        _, version, features, attached, _ = struct.unpack("IIQII", answer)
        return version, features, attached

    def page(self) -> mmap.mmap:
        return mmap.mmap(self.fd, 4096)


@contextmanager
def opened() -> Iterator[Client]:
    fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield Client(fd)
    finally:
        os.close(fd)


@contextmanager
def stored_step(page: mmap.mmap, slot: int, step_id: int) -> Iterator[None]:
    """A step marked by plain stores into the page; one thread does it, so x86 keeps their order."""
    at = slot * _SLOT_BYTES
    begun = struct.unpack_from("I", page, at + 40)[0]
    struct.pack_into("Q", page, at + 8, time.monotonic_ns())
    struct.pack_into("I", page, at + 40, begun + 1 & 0xFFFFFFFF)
    struct.pack_into("Q", page, at, step_id)
    try:
        yield
    finally:
        struct.pack_into("Q", page, at + 16, time.monotonic_ns())
        struct.pack_into("Q", page, at, 0)


def set_sysctl(name: str, value: object) -> None:
    """By one write(), whose errno stays visible."""
    descriptor = os.open(SYSCTLS / name, os.O_WRONLY)
    try:
        os.write(descriptor, f"{value}\n".encode())
    finally:
        os.close(descriptor)


def debug_lines(name: str) -> list[dict[str, str]]:
    """The lines of a debugfs file that are made of key=value words."""
    lines = (DEBUGFS / name).read_text().splitlines()
    return [
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in lines
        if not line.startswith("#")
    ]


@contextmanager
def events(*names: str) -> Iterator[list[dict[str, str]]]:
    """The module's trace events between entry and exit, filled in at exit, in a trace instance."""
    found: list[dict[str, str]] = []
    with trace_instance("agent_latency_test") as instance:
        (instance / "buffer_size_kb").write_text("8192")
        for name in names:
            (instance / "events/agent_latency" / name / "enable").write_text("1")
        yield found
        for name in names:
            (instance / "events/agent_latency" / name / "enable").write_text("0")
        found.extend(_parsed((instance / "trace").read_text()))


def _parsed(trace: str) -> Iterator[dict[str, str]]:
    for line in trace.splitlines():
        if line.startswith("#") or ": " not in line:
            continue
        head, _, words = line.partition(": agent_")
        name, _, rest = words.partition(": ")
        yield {"event": f"agent_{name}", "task": head.split()[0]} | dict(
            word.split("=", 1) for word in rest.split() if "=" in word
        )
