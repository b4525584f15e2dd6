# SPDX-License-Identifier: GPL-2.0-only
"""Device completions one at a time: NVMe reads and round trips over a NIC, slept for or not."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vm.scene.scene import TOOL_ADDRESS, TOOL_NAMESPACE

NVME = "/dev/nvme0n1"
BLOCK_BYTES = 4096
PORT = 7700
MESSAGE = b"x" * 512
_IO_SETUP, _IO_SUBMIT, _IO_GETEVENTS, _IO_DESTROY = 206, 209, 208, 207
_PREAD = 0
# How often a read that nobody sleeps for is looked for before it is given up.
_LOOKS = 250

_ECHO = f"""
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(({TOOL_ADDRESS!r}, {PORT}))
s.listen()
print("ready", flush=True)
peer, _ = s.accept()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while data := peer.recv(65536):
    if thinking_s := float(sys.argv[1]):
        time.sleep(thinking_s)
    peer.sendall(data)
"""


class _Request(ctypes.Structure):
    """struct iocb (include/uapi/linux/aio_abi.h), as far as a read needs it."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint64),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_uint32),
    ]


def spin(seconds: float) -> None:
    """Keeps its CPU, without a system call (the clock is read in the vDSO)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Disk:
    """Reads of the NVMe disk that go to the device each."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = os.open(NVME, os.O_RDONLY | os.O_DIRECT)
        self._buffer = mmap.mmap(-1, BLOCK_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._context = ctypes.c_ulong()
        self._call(_IO_SETUP, ctypes.c_uint(8), ctypes.byref(self._context))

    def close(self) -> None:
        self._call(_IO_DESTROY, self._context)
        os.close(self._fd)

    def _call(self, number: int, *words: object) -> int:
        result = int(self._libc.syscall(ctypes.c_long(number), *words))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"system call {number}")
        return result

    def read(self, block: int) -> None:
        """One read, waited for by the kernel's rules: it may be there before the thread sleeps."""
        os.preadv(self._fd, [self._buffer], block % 1024 * BLOCK_BYTES)

    def read_while_running(self, block: int, seconds: float) -> None:
        """One read, during which the thread never sleeps; looked for after each `seconds`."""
        offset = block % 1024 * BLOCK_BYTES
        request = _Request(0, 0, _PREAD, 0, self._fd, self._address, BLOCK_BYTES, offset, 0, 0, 0)
        requests = (ctypes.c_void_p * 1)(ctypes.addressof(request))
        self._call(_IO_SUBMIT, self._context, ctypes.c_long(1), requests)
        now = (ctypes.c_long * 2)(0, 0)
        events = (ctypes.c_uint64 * 4)()
        none, one = ctypes.c_long(0), ctypes.c_long(1)
        for _ in range(_LOOKS):
            spin(seconds)
            if self._call(_IO_GETEVENTS, self._context, none, one, events, now):
                break
        else:
            raise AssertionError("the read is never done")
        assert ctypes.c_int64(events[2]).value == BLOCK_BYTES


@contextmanager
def disk() -> Iterator[Disk]:
    opened = Disk()
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def echo(thinking_s: float = 0.0) -> Iterator[socket.socket]:
    """A connection over NIC A to a server on CPU 2 that sends back what comes, after a while."""
    command = ["ip", "netns", "exec", TOOL_NAMESPACE, "taskset", "-c", "2"]
    command += [sys.executable, "-c", _ECHO, str(thinking_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
            with socket.create_connection((TOOL_ADDRESS, PORT), timeout=60) as peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield peer
        finally:
            server.kill()


def round_trip(peer: socket.socket, before_receiving_s: float = 0.0) -> None:
    peer.sendall(MESSAGE)
    if before_receiving_s:
        spin(before_receiving_s)
    left = len(MESSAGE)
    while left:
        left -= len(peer.recv(left))
