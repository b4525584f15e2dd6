# SPDX-License-Identifier: GPL-2.0-only
"""What the device refuses, and with which error: kmod/uapi/agent_latency.h has the list."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from actors import (
    NOBODY,
    attached,
    block,
    child,
    eventually,
    give_up,
    in_state,
    refused,
    sleeping_threads,
    status_of,
    succeed,
)
from client import ATTACH, DETACH, DEVICE, INFO, Client, opened, stored_step
from loading import KernelModule

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

LIMIT = Path("/sys/module/agent_latency/parameters/max_agents_per_user")
CAP_SYS_PTRACE = 19
KTHREADD = 2
SLOTS = 64
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(autouse=True)
def none_attached(module: KernelModule) -> Iterator[None]:
    """Each test begins and ends with nothing attached and nothing open."""
    eventually(lambda: attached() == 0)
    yield
    eventually(lambda: attached() == 0 and module.users == 0)


def test_a_thread_is_attached_once() -> None:
    with opened() as first, opened() as second:
        first.attach()
        assert refused(first.attach) == "EEXIST"
        assert refused(second.attach) == "EEXIST"
        assert refused(second.detach) == "ENOENT"
        first.detach()
        assert refused(first.detach) == "ENOENT"
        second.attach()
        assert (first.info()[2], second.info()[2]) == (0, 1)


def test_threads_of_other_processes_take_cap_sys_ptrace() -> None:
    def other(pid: int, user: int | None, capability: int | None) -> str:
        with opened() as client:
            give_up(user, capability=capability)
            return refused(lambda: client.attach(pid)) + refused(lambda: client.detach(pid))

    with in_state(block) as roots, in_state(block, NOBODY) as nobodys, opened() as client:
        for pid in (roots, nobodys, 1):
            succeed(lambda pid=pid: other(pid, NOBODY, None) == "EPERMEPERM" or os._exit(1))
            succeed(lambda pid=pid: other(pid, None, CAP_SYS_PTRACE) == "EPERMEPERM" or os._exit(1))
        assert refused(lambda: client.attach(roots)) == "EEXIST"
        client.attach(1)
        client.detach(1)
        assert refused(lambda: client.detach(nobodys)) == "ENOENT"


def test_own_threads_need_no_privilege() -> None:
    def attach_all() -> None:
        with opened() as client, sleeping_threads(3) as tids:
            give_up(NOBODY)
            slots = [client.attach(), *map(client.attach, tids)]
            assert sorted(slots) == [0, 1, 2, 3]
            client.detach(tids[1])
            assert client.info()[2] == 3

    succeed(attach_all)


def test_what_is_no_thread_of_a_program() -> None:
    gone = child(lambda: None)
    status_of(gone)
    zombie = child(lambda: None)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    with opened() as client:
        assert refused(lambda: client.attach(KTHREADD)) == "EINVAL"
        for tid in (gone, zombie, -1, -(2**31), 2**31 - 1):
            assert refused(lambda tid=tid: client.attach(tid)) == "ESRCH"
        assert client.info()[2] == 0
    status_of(zombie)


def call(client: Client, number: int, size: int, tail: bytes = b"") -> object:
    words = struct.pack("IiII", size, 0, 0, 0) + tail
    return fcntl.ioctl(client.fd, number, words.ljust(64, b"\0"))


def test_sizes_and_flags() -> None:
    with opened() as client:
        for number in (ATTACH, DETACH, INFO):
            for size in (0, 4, 15):
                assert refused(lambda n=number, s=size: call(client, n, s)) == "EINVAL"
            for size in (4097, 2**31, 2**32 - 1):
                assert refused(lambda n=number, s=size: call(client, n, s)) == "E2BIG"
        assert refused(lambda: call(client, ATTACH, 32, b"\0\0\1")) == "E2BIG"
        call(client, ATTACH, 32)
        assert refused(lambda: call(client, DETACH, 17, b"\1")) == "E2BIG"
        call(client, DETACH, 64)
        for number in (ATTACH, DETACH):
            flags = struct.pack("IiII", 16, 0, 0, 1)
            assert refused(lambda n=number, f=flags: fcntl.ioctl(client.fd, n, f)) == "EINVAL"
        for number in (0xC010A703, 0xC010A7FF, 0xC010A801, 0x5401, 0):
            assert refused(lambda n=number: call(client, n, 16)) == "ENOTTY"


def call_at(descriptor: int, number: int, address: int) -> None:
    """An ioctl with any address; Python's own takes no 64-bit number for one."""
    if libc.ioctl(descriptor, ctypes.c_ulong(number), ctypes.c_ulong(address)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def test_pointers() -> None:
    with opened() as client:
        for address in (0, 8, 0x7FFFFFFFF000, 0xFFFFFFFF81000000, 2**63, 2**64 - 8):
            for number in (ATTACH, DETACH, INFO):
                error = refused(lambda n=number, a=address: call_at(client.fd, n, a))
                assert error == "EFAULT"
        assert client.info()[2] == 0


def test_an_answer_that_cannot_be_stored_attaches_nothing() -> None:
    with opened() as client, mmap.mmap(-1, 4096) as request:
        request[:16] = struct.pack("IiII", 16, 0, 0, 0)
        address = ctypes.addressof(ctypes.c_char.from_buffer(request))
        assert libc.mprotect(ctypes.c_ulong(address), ctypes.c_ulong(4096), mmap.PROT_READ) == 0
        assert refused(lambda: call_at(client.fd, ATTACH, address)) == "EFAULT"
        assert client.info()[2] == 0
        client.attach()


def test_a_file_has_so_many_slots() -> None:
    with opened() as client, sleeping_threads(SLOTS + 1) as tids:
        slots = [client.attach(tid) for tid in tids[:SLOTS]]
        assert sorted(slots) == list(range(SLOTS))
        assert refused(lambda: client.attach(tids[SLOTS])) == "ENOSPC"
        client.detach(tids[10])
        assert client.attach(tids[SLOTS]) == slots[10]
        assert client.info()[2] == SLOTS
        with opened() as second:
            second.attach(tids[10])


@pytest.mark.thorough
def test_a_slot_is_free_as_soon_as_it_is_given_back() -> None:
    with opened() as client:
        for _ in range(5 * SLOTS):
            client.attach()
            client.detach()
            assert client.info()[2] == 0


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    before = LIMIT.read_text()
    LIMIT.write_text(str(threads))
    try:
        yield
    finally:
        LIMIT.write_text(before)


def test_a_user_has_so_many_threads() -> None:
    def exceed() -> None:
        with opened() as client, opened() as second, sleeping_threads(4) as tids:
            give_up(NOBODY)
            for tid in tids[:3]:
                client.attach(tid)
            assert refused(lambda: client.attach(tids[3])) == "EDQUOT"
            assert refused(lambda: second.attach(tids[3])) == "EDQUOT"
            assert second.info()[2] == 0
            client.detach(tids[0])
            second.attach(tids[3])

    with limited_to(3):
        succeed(exceed)
        with opened() as client, sleeping_threads(5) as tids:
            for tid in tids:
                client.attach(tid)
        eventually(lambda: attached() == 0)
        succeed(exceed)


@pytest.mark.parametrize(
    ("length", "offset", "flags", "prot"),
    [
        (8192, 0, mmap.MAP_SHARED, 3),
        (4096, 4096, mmap.MAP_SHARED, 3),
        (4096, 2**40, mmap.MAP_SHARED, 3),
        (4096, 0, mmap.MAP_PRIVATE, 3),
        (4096, 0, mmap.MAP_SHARED, 7),
        (4096, 0, mmap.MAP_SHARED, 5),
    ],
)
def test_mappings_that_are_refused(length: int, offset: int, flags: int, prot: int) -> None:
    with opened() as client:
        error = refused(lambda: mmap.mmap(client.fd, length, flags, prot, offset=offset))
        assert error == ("EPERM" if prot & 4 else "EINVAL")
        client.page().close()


def test_a_file_that_cannot_be_written_has_no_page() -> None:
    descriptor = os.open(DEVICE, os.O_RDONLY)
    try:
        error = refused(lambda: mmap.mmap(descriptor, 4096, mmap.MAP_SHARED, mmap.PROT_READ))
        assert error == "EINVAL"
    finally:
        os.close(descriptor)


def test_the_page_cannot_grow_or_become_executable() -> None:
    word = ctypes.c_ulong
    with opened() as client, client.page() as page:
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        libc.mremap.restype = ctypes.c_long
        assert libc.mremap(word(address), word(4096), word(8192), word(1)) == -1
        assert errno.errorcode[ctypes.get_errno()] == "EFAULT"
        assert libc.mprotect(word(address), word(4096), mmap.PROT_READ | mmap.PROT_EXEC) == -1
        assert errno.errorcode[ctypes.get_errno()] == "EACCES"
        page[0] = 1
        assert page[0] == 1


def test_a_child_does_not_have_the_page() -> None:
    with opened() as client, client.page() as page:
        page[0] = 1
        assert status_of(child(lambda: page[0])) == -11
        succeed(lambda: client.page()[0] == 1 or os._exit(1))


def test_who_takes_over_a_slot_is_not_in_the_step_of_the_last() -> None:
    with opened() as client, client.page() as page:
        page[:] = b"\xff" * 4096
        slot = client.attach()
        at = slot * 64
        assert page[at : at + 64] == bytes(64)
        with stored_step(page, slot, 5):
            client.detach()
        page[at : at + 8] = struct.pack("Q", 77)
        done = threading.Event()

        def attach_and_block() -> None:
            assert client.attach() == slot
            done.wait(0.2)

        thread = threading.Thread(target=attach_and_block)
        thread.start()
        thread.join()
    steps = Path("/sys/kernel/debug/agent_latency/steps").read_text()
    assert "step=77 " not in steps
