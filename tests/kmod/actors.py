# SPDX-License-Identifier: GPL-2.0-only
"""Processes that use the device, in states in which they can be killed."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client import DEBUGFS, Client, mark, opened, stored_step
from debug_kernel import patience

NOBODY = 65534
_CAPSET = 126
_CAP_VERSION = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def child(run: Callable[[], object]) -> int:
    """The pid of a fork that runs this and exits with 0, or with 99 and its traceback."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run()
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(99)


def status_of(pid: int) -> int:
    """The exit status; negative: the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def succeed(run: Callable[[], object]) -> None:
    """Runs it in a fork, which must exit with 0."""
    assert status_of(child(run)) == 0


def attached() -> int:
    """How many threads the module says it follows."""
    return int((DEBUGFS / "agents").read_text().split()[1])


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Waits until it holds."""
    limit = patience(seconds)
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until, f"not within {limit} s"
        time.sleep(0.02)


def give_up(user: int | None, *, capability: int | None = None) -> None:
    """Becomes another user, or gives up one capability (number below 32)."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if capability is not None:
        header = struct.pack("Ii", _CAP_VERSION, 0)
        low = 0xFFFFFFFF & ~(1 << capability)
        mask = _held_above_31()
        data = struct.pack("6I", low, low, 0, mask, mask, 0)
        assert _libc.syscall(_CAPSET, header, data) == 0, os.strerror(ctypes.get_errno())


def _held_above_31() -> int:
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapPrm")
    )
    return int(line.split()[1], 16) >> 32


def refused(call: Callable[[], object]) -> str:
    """The name of the errno with which the kernel refuses this; fails when it does not."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    raise AssertionError("it was not refused")


@contextmanager
def sleeping_threads(count: int) -> Iterator[list[int]]:
    """The tids of so many threads of this process, which end at exit."""
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield [thread.native_id or 0 for thread in threads]
    finally:
        end.set()
        for thread in threads:
            thread.join()


# What a child does once it is attached, until it is killed. `ready` tells that it is at it.


def spin(client: Client, slot: int, ready: Callable[[], None]) -> None:
    ready()
    while True:
        pass


def block(client: Client, slot: int, ready: Callable[[], None]) -> None:
    ready()
    signal.pause()


def be_stopped(client: Client, slot: int, ready: Callable[[], None]) -> None:
    ready()
    os.kill(os.getpid(), signal.SIGSTOP)


def be_in_a_step(client: Client, slot: int, ready: Callable[[], None]) -> None:
    for number in range(1, 10):
        mark(1, number)
    ready()
    signal.pause()


def be_in_a_stored_step(client: Client, slot: int, ready: Callable[[], None]) -> None:
    with stored_step(client.page(), slot, 7):
        ready()
        signal.pause()


def have_the_page(client: Client, slot: int, ready: Callable[[], None]) -> None:
    page = client.page()
    os.close(client.fd)
    ready()
    while True:
        page[64 * slot] = 1


def call_on(client: Client, slot: int, ready: Callable[[], None]) -> None:
    ready()
    while True:
        client.detach()
        client.attach()
        client.info()


def have_threads(client: Client, slot: int, ready: Callable[[], None]) -> None:
    with sleeping_threads(20) as tids:
        for tid in tids:
            client.attach(tid)
        ready()
        signal.pause()


def mark_on(client: Client, slot: int, ready: Callable[[], None]) -> None:
    ready()
    while True:
        mark(1, 5)
        mark(2, 5)


STATES = (
    spin,
    block,
    be_stopped,
    be_in_a_step,
    be_in_a_stored_step,
    have_the_page,
    call_on,
    have_threads,
    mark_on,
)


@contextmanager
def in_state(
    state: Callable[[Client, int, Callable[[], None]], None], user: int | None = None
) -> Iterator[int]:
    """The pid of an attached process in that state; it is dead at exit."""
    read, write = os.pipe()

    def run() -> None:
        give_up(user)
        with opened() as client:
            state(client, client.attach(), lambda: os.write(write, b"x") and None)

    pid = child(run)
    os.close(write)
    try:
        assert os.read(read, 1) == b"x", "the process did not come to its state"
        yield pid
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
