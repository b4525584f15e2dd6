# SPDX-License-Identifier: GPL-2.0-only
"""Threads that come and go in every way, files that are handed around, and the module's own end."""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from actors import (
    STATES,
    attached,
    block,
    call_on,
    child,
    eventually,
    in_state,
    mark_on,
    refused,
    sleeping_threads,
    status_of,
    succeed,
)
from client import DEVICE, Client, opened
from loading import KernelModule
from tracepoints import others_probes, probed_tracepoints

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

KPROBES = Path("/sys/kernel/debug/kprobes/list")
EVENTS = Path("/sys/kernel/tracing/events")
FOLLOWED = {"sched_switch", "sched_waking", "sched_process_exit", "irq_handler_entry"}


@pytest.fixture(autouse=True)
def none_attached(module: KernelModule) -> Iterator[None]:
    """Each test begins and ends with nothing attached and nothing open."""
    eventually(lambda: attached() == 0)
    yield
    eventually(lambda: module.loaded and attached() == 0 and module.users == 0)


def attach_and_exit(client: Client) -> None:
    client.attach()


def attach_and_exec(client: Client) -> None:
    client.attach()
    os.execv("/bin/true", ["true"])


def attach_and_fork(client: Client) -> None:
    client.attach()
    succeed(lambda: refused(client.detach) == "ENOENT" or os._exit(1))
    succeed(lambda: client.attach() >= 0 or os._exit(1))


def attach_threads_that_exit(client: Client) -> None:
    with sleeping_threads(3) as tids:
        for tid in tids:
            client.attach(tid)
    client.attach()


def detach_and_exit(client: Client) -> None:
    client.attach()
    client.detach()


WAYS = (
    attach_and_exit,
    attach_and_exec,
    attach_and_fork,
    attach_threads_that_exit,
    detach_and_exit,
)


@pytest.mark.thorough
def test_a_thousand_threads_come_and_go() -> None:
    """All through one file, whose 64 slots are taken again and again; four lives at a time."""
    with opened() as client:
        for round_ in range(250):
            ways = [WAYS[(round_ + place) % len(WAYS)] for place in range(4)]
            lives = [child(lambda way=way: way(client)) for way in ways]
            assert [status_of(life) for life in lives] == [0] * 4
        eventually(lambda: client.info()[2] == 0)
        assert attached() == 0
        with sleeping_threads(64) as tids:
            assert sorted(map(client.attach, tids)) == list(range(64))


def test_an_exec_detaches_though_the_file_stays_open() -> None:
    with opened() as client:
        os.set_inheritable(client.fd, True)

        def run() -> None:
            client.attach()
            os.execv("/bin/sleep", ["sleep", "60"])

        pid = child(run)
        comm = Path(f"/proc/{pid}/comm")
        try:
            # The name changes before the tracepoint of the exec, and with it the module, is told.
            eventually(lambda: comm.read_text().strip() == "sleep" and client.info()[2] == 0)
            client.attach(pid)
        finally:
            os.kill(pid, signal.SIGKILL)
            status_of(pid)
        eventually(lambda: client.info()[2] == 0)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_kill_9(module: KernelModule, state: Callable[..., None]) -> None:
    for _ in range(3):
        with in_state(state) as pid:
            if state is not call_on:
                eventually(lambda: attached() > 0, 5)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: attached() == 0)
        assert module.users == 0


def test_a_file_outlives_who_opened_it(module: KernelModule) -> None:
    """fork() shares it: the attached parent is killed, the child goes on."""
    read, write = os.pipe()

    def parent() -> None:
        with opened() as client:
            client.attach()
            page = client.page()
            if not os.fork():
                os.write(write, b"x")
                eventually(lambda: client.info()[2] == 0)
                client.attach()
                os.write(write, b"y")
                signal.pause()
            page[0] = 1
            signal.pause()

    pid = child(parent)
    os.close(write)
    orphan = b""
    try:
        assert os.read(read, 1) == b"x"
        heir = int(subprocess.check_output(["pgrep", "-P", str(pid)]))
        orphan = b"alive"
        os.kill(pid, signal.SIGKILL)
        status_of(pid)
        assert os.read(read, 1) == b"y"
        assert (attached(), module.users) == (1, 1)
    finally:
        if orphan:
            os.kill(heir, signal.SIGKILL)
        os.close(read)


def test_a_file_is_passed_to_another_process(module: KernelModule) -> None:
    here, there = socket.socketpair()

    def give() -> None:
        with opened() as client:
            client.attach()
            socket.send_fds(there, [b"x"], [client.fd])

    succeed(give)
    _, descriptors, _, _ = socket.recv_fds(here, 1, 1)
    here.close()
    there.close()
    client = Client(descriptors[0])
    assert client.info()[2] == 0
    client.attach()
    assert (attached(), module.users) == (1, 1)
    os.close(client.fd)
    eventually(lambda: attached() == 0)


def test_a_file_in_flight_goes_with_its_socket(module: KernelModule) -> None:
    here, there = socket.socketpair()
    with opened() as client:
        client.attach()
        rights = array.array("i", [client.fd])
        here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    assert (attached(), module.users) == (1, 1)
    here.close()
    there.close()
    eventually(lambda: attached() == 0 and module.users == 0)


def test_a_mapping_keeps_its_file(module: KernelModule) -> None:
    with opened() as client:
        client.attach()
        page = client.page()
    page[0] = 1
    assert (attached(), module.users) == (1, 1)
    with pytest.raises(subprocess.CalledProcessError):
        module.unload()
    page.close()
    eventually(lambda: attached() == 0 and module.users == 0)


def test_threads_attach_and_detach_each_other_at_once() -> None:
    """Who attaches must not use what another detached, and freed, meanwhile."""
    until = time.monotonic() + 3
    allowed = {errno.EEXIST, errno.ENOENT, errno.ENOSPC}

    def race(client: Client, tids: list[int]) -> None:
        while time.monotonic() < until:
            for tid in tids:
                for call in (client.attach, client.detach):
                    try:
                        call(tid)
                    except OSError as error:
                        assert error.errno in allowed

    with opened() as client, sleeping_threads(3) as tids:
        racers = [threading.Thread(target=race, args=(client, tids)) for _ in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        for tid in tids:
            refused_or_done(client, tid)
        assert client.info()[2] == 0


def refused_or_done(client: Client, tid: int) -> None:
    try:
        client.detach(tid)
    except OSError as error:
        assert error.errno == errno.ENOENT


@pytest.mark.thorough
def test_probes_are_there_while_somebody_is_attached_only(module: KernelModule) -> None:
    before = others_probes(module)
    assert not before & FOLLOWED
    with opened() as client:
        assert probed_tracepoints() == before
        client.attach()
        assert probed_tracepoints() >= FOLLOWED
        client.detach()
        eventually(lambda: probed_tracepoints() == before)
    with in_state(block):
        assert probed_tracepoints() >= FOLLOWED
    eventually(lambda: probed_tracepoints() == before)
    assert armed_kprobes() == []
    with module.away():
        assert probed_tracepoints() == before
        assert "agent_latency" not in KPROBES.read_text()


@pytest.mark.thorough
def test_the_witness_sees_another_probe_come_and_go(module: KernelModule) -> None:
    switch = EVENTS / "sched/sched_switch/enable"
    assert "sched_switch" not in probed_tracepoints()
    switch.write_text("1")
    try:
        assert "sched_switch" in probed_tracepoints()
    finally:
        switch.write_text("0")
    assert "sched_switch" not in probed_tracepoints()


def armed_kprobes() -> list[str]:
    """What the module would only have armed while agents are attached: marks and sockets."""
    return [
        line
        for line in KPROBES.read_text().splitlines()
        if ("sys_prctl" in line or "sock_def_readable" in line) and "[DISABLED]" not in line
    ]


@pytest.mark.parametrize("state", [block, call_on, mark_on], ids=lambda state: state.__name__)
def test_it_is_not_unloaded_under_load(module: KernelModule, state: Callable[..., None]) -> None:
    with in_state(state):
        for _ in range(5):
            with pytest.raises(subprocess.CalledProcessError) as refusal:
                module.unload()
            assert "in use" in refusal.value.stderr
        assert module.loaded
    eventually(lambda: module.users == 0)
    with module.away():
        assert not DEVICE.exists()


@pytest.mark.thorough
def test_a_hundred_loads_and_unloads(module: KernelModule) -> None:
    """With a thread whose exit the module may still be busy with, as it goes."""
    before = others_probes(module)
    for number in range(100):
        if number % 2:
            with opened() as client:
                lives = [child(client.attach) for _ in range(3)]
                assert [status_of(life) for life in lives] == [0, 0, 0]
        module.unload()
        assert not DEVICE.exists()
        if number % 10 == 0:
            assert probed_tracepoints() == before
            assert "agent_latency" not in KPROBES.read_text()
        module.load()
    assert probed_tracepoints() == before
