# SPDX-License-Identifier: GPL-2.0-only
"""Which tasks count as agents, how long they run, and what woke them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from measure_loads import (
    COMM,
    LATE_THREAD,
    PIPE_READER,
    SLEEPER,
    SPINNER,
    UDP_READER,
    agent,
)

from agenttune.errors import InputError
from agenttune.host.selector import Selector
from agenttune.measure.backend import choose
from agenttune.measure.bpf_engine import BpfEngine
from agenttune.measure.filter import Filter, resolve
from agenttune.measure.measurement import Measurement
from agenttune.measure.session import Session

pytestmark = pytest.mark.bpf

TURNS = 100
BY_COMM = Selector.parse(f"comm:{COMM}")


@pytest.fixture
def engine(engine_name: str) -> Iterator[BpfEngine]:
    """Attached; its window is not open yet."""
    attached = BpfEngine(Filter(comms=(COMM.encode(),)), backend=choose(engine_name))
    yield attached
    attached.close()


def wakeups(found: Measurement) -> dict[str, int]:
    """Samples by the waker's context."""
    return {
        distribution.subject: distribution.histogram.count
        for distribution in found.distributions
        if distribution.metric == "wakeup-latency"
    }


def mostly(found: Measurement, context: str) -> bool:
    """At most one waking in ten is another's: the agent's start and end, page faults, locks.

    A busy machine lets some turns come before the agent sleeps; those need no waking.
    """
    counts = wakeups(found)
    return counts.get(context, 0) >= max(TURNS // 2, 0.9 * sum(counts.values()))


def test_a_timer_wakes_from_hardirq(engine_name: str) -> None:
    with agent(SLEEPER, TURNS) as sleeper, Session([BY_COMM], engine=engine_name) as session:
        sleeper.hear()
        sleeper.poke()
        sleeper.hear()
        session.stop()
        assert mostly(session.read(), "hardirq"), wakeups(session.read())


def test_a_pipe_partner_wakes_from_its_task(engine_name: str) -> None:
    with agent(PIPE_READER, TURNS) as reader, Session([BY_COMM], engine=engine_name) as session:
        reader.hear()
        for _ in range(TURNS + 1):
            reader.poke()
            time.sleep(0.001)
        reader.hear()
        session.stop()
        assert mostly(session.read(), "task"), wakeups(session.read())


def test_a_datagram_wakes_from_its_softirq(engine_name: str) -> None:
    """Loopback delivers in NET_RX on the sender's CPU; the sender is not the waker."""
    with (
        agent(UDP_READER, TURNS) as reader,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        Session([BY_COMM], engine=engine_name) as session,
    ):
        port = int(reader.hear())
        reader.poke()
        for _ in range(TURNS):
            time.sleep(0.001)
            sender.sendto(b"x", ("127.0.0.1", port))
        reader.hear()
        session.stop()
        assert mostly(session.read(), "softirq NET_RX"), wakeups(session.read())


def test_waking_latency_is_below_the_loop_it_is_part_of(engine_name: str) -> None:
    with agent(SLEEPER, TURNS) as sleeper, Session([BY_COMM], engine=engine_name) as session:
        sleeper.hear()
        begin = time.monotonic_ns()
        sleeper.poke()
        sleeper.hear()
        length = time.monotonic_ns() - begin
        session.stop()
        found = session.read()
    latencies = [d.histogram for d in found.distributions if d.metric == "wakeup-latency"]
    assert 0 < sum(histogram.total for histogram in latencies) < length


def test_a_thread_of_the_window_counts_from_its_renaming(engine_name: str) -> None:
    with agent(LATE_THREAD) as process, Session([BY_COMM], engine=engine_name) as session:
        process.hear()
        before = session.read()
        process.poke()
        process.hear()
        session.stop()
        found = session.read()
    # The process has the watched name only until it renames itself, before the window's work.
    ran = run_ns(found, process.pid) - run_ns(before, process.pid)
    assert 0.02e9 < ran <= found.window_ns


def test_all_threads_of_a_pid_count_also_new_ones(engine_name: str) -> None:
    with agent(LATE_THREAD) as process:
        process.hear()
        with Session([Selector.parse(f"pid:{process.pid}")], engine=engine_name) as session:
            process.poke()
            process.hear()
            session.stop()
            found = session.read()
    names = {load.comm for load in found.agents}
    assert {load.tgid for load in found.agents} == {process.pid}
    assert {"at-test-other", COMM} <= names


def test_nobody_counts_without_a_match(engine_name: str) -> None:
    with (
        agent(SLEEPER, 10) as sleeper,
        Session([Selector.parse("comm:at-nobody")], engine=engine_name) as session,
    ):
        sleeper.hear()
        sleeper.poke()
        sleeper.hear()
        found = session.read()
    assert found.agents == ()
    assert wakeups(found) == {}


def test_the_measuring_process_is_no_agent(engine_name: str) -> None:
    name = Path("/proc/self/comm").read_text().strip()
    with Session([Selector.parse(f"comm:{name}")], engine=engine_name) as session:
        time.sleep(0.05)
        assert os.getpid() not in {load.tgid for load in session.read().agents}


def run_ns(found: Measurement, pid: int) -> int:
    return sum(load.run_ns for load in found.agents if load.tgid == pid)


@pytest.fixture
def free_cpu() -> Iterator[int]:
    """A CPU that this process keeps off.

    A real-time agent's first word may wake its listener onto the agent's own CPU (wake_affine(),
    kernel/sched/fair.c, v6.18), where it could run only when the agent is done.
    """
    cpus = os.sched_getaffinity(0)
    assert len(cpus) > 1, "this test needs two CPUs"
    os.sched_setaffinity(0, cpus - {max(cpus)})
    yield max(cpus)
    os.sched_setaffinity(0, cpus)


def test_a_turn_is_its_own_time_and_what_was_stolen(engine: BpfEngine, free_cpu: int) -> None:
    """A real-time agent holds its CPU from before the window to its end, with hardly a switch.

    Its own time and the stolen time then are the window; and the stolen time, kept by the frames'
    clock, is the sum of each interrupt's own time, so nested time is in it once.
    """
    with agent(SPINNER, free_cpu) as spinner:
        spinner.hear()
        begin = time.monotonic_ns()
        engine.open_window()
        seeded = time.monotonic_ns()
        time.sleep(0.2)
        engine.close_window()
        end = time.monotonic_ns()
        found = engine.counters()
        spinner.poke()
        assert spinner.hear() == "done"
    (load,) = found.agents
    assert load.tgid == spinner.pid
    # Only the kernel's stopper threads come before it.
    assert 1 <= load.switches_in <= 10
    whole = load.run_ns + load.stolen_ns
    assert 0.97 * (end - seeded) <= whole <= end - begin
    sum_ns = sum(
        part.times.total for part in (*found.irqs, *found.softirqs) if part.cpu == load.cpu
    )
    sum_ns += sum(part.time_ns for part in found.archs if part.cpu == load.cpu)
    assert sum_ns > 0
    # One softirq and one hardirq may be cut at each edge of the turn; and what interrupted the
    # agent before its CPU was seeded is no part of it.
    slack_ns = 0.02 * sum_ns + 200_000
    assert load.stolen_ns - slack_ns <= sum_ns <= load.stolen_ns + slack_ns + (seeded - begin)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """Two nested cgroups; the inner one takes the agent."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    mount = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    assert mount is not None, "this test needs cgroup version 2 mounted"
    outer = mount / f"at-test-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    yield inner
    inner.rmdir()
    outer.rmdir()


def test_a_cgroup_selects_what_is_below_it(cgroup: Path, engine_name: str) -> None:
    with agent(SLEEPER, TURNS) as sleeper, agent(SLEEPER, TURNS) as outsider:
        sleeper.hear()
        outsider.hear()
        (cgroup / "cgroup.procs").write_text(str(sleeper.pid))
        with Session(
            [Selector.parse(f"cgroup:/{cgroup.parent.name}")], engine=engine_name
        ) as session:
            for process in (sleeper, outsider):
                process.poke()
            for process in (sleeper, outsider):
                process.hear()
            session.stop()
            found = session.read()
    assert {load.tgid for load in found.agents} == {sleeper.pid}
    assert mostly(found, "hardirq"), wakeups(found)


def test_a_unit_is_the_cgroup_of_that_name(cgroup: Path) -> None:
    unit = cgroup / "at-test.service"
    unit.mkdir()
    try:
        assert resolve([Selector.parse("unit:at-test.service")]).cgroups == (unit.stat().st_ino,)
    finally:
        unit.rmdir()
    with pytest.raises(InputError, match="no cgroup of that name"):
        resolve([Selector.parse("unit:at-test.service")])


def test_what_does_not_fit_is_lost_and_said(engine_name: str) -> None:
    """Two agents, room for one."""
    engine = BpfEngine(
        Filter(comms=(b"at-test-1", b"at-test-2")), {"agents": 1}, backend=choose(engine_name)
    )
    try:
        with agent(SLEEPER, 20, "at-test-1") as one, agent(SLEEPER, 20, "at-test-2") as two:
            one.hear()
            two.hear()
            engine.open_window()
            for process in (one, two):
                process.poke()
            for process in (one, two):
                process.hear()
            engine.close_window()
        counters = engine.counters()
    finally:
        engine.close()
    assert len({(load.comm, load.cpu) for load in counters.agents}) >= 1
    assert counters.coverage.lost >= 20
