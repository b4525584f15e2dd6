# SPDX-License-Identifier: GPL-2.0-only
"""Both engines' probes over one load in one window: what they time must agree."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from measure_loads import COMM, SLEEPER, agent, loopback, read_disk
from probe_loads import BY_COMM, COLD_READER, SYSCALLER, Probed, disk_file

from agenttune.measure.backend import BCC, LIBBPF
from agenttune.measure.filter import Filter, resolve
from agenttune.measure.probe_engine import ProbeEngine, room
from agenttune.measure.probe_layout import DEFAULT_MAX_BYTES, ProbeName

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("bcc_here")]

COUNT = 100
# The two windows do not open and close in the same moment.
EDGE = 20


@contextlib.contextmanager
def both(name: ProbeName, for_agents: bool = True) -> Iterator[tuple[Probed, Probed]]:
    """libbpf's and bcc's."""
    chosen = resolve(BY_COMM) if for_agents else Filter()
    with contextlib.ExitStack() as stack:
        engines = []
        for backend in (LIBBPF, BCC):
            engine = ProbeEngine(name, chosen, DEFAULT_MAX_BYTES, room(name), backend)
            stack.callback(engine.close)
            engines.append(engine)
        for engine in engines:
            engine.open_window()
        yield Probed(engines[0]), Probed(engines[1])


def stop(probed: tuple[Probed, Probed]) -> None:
    for each in probed:
        each.engine.close_window()
    for each in probed:
        each.stop()
        assert each.coverage.lost == 0
        assert each.coverage.recursion_misses == 0


def numbers(probed: Probed, metric: str) -> dict[str, int]:
    return {subject: histogram.count for subject, histogram in probed.times(metric).items()}


def agree(probed: tuple[Probed, Probed], metric: str, edge: int = EDGE) -> int:
    """How many samples there are, when they are by subject as many in both."""
    first, second = (numbers(each, metric) for each in probed)
    for subject in first.keys() | second.keys():
        assert abs(first.get(subject, 0) - second.get(subject, 0)) <= edge, subject
    return sum(first.values())


def test_wakings() -> None:
    with agent(SLEEPER, COUNT) as sleeper, both(ProbeName.WAKEUP) as probed:
        sleeper.hear()
        sleeper.poke()
        sleeper.hear()
        stop(probed)
    assert agree(probed, "wakeup-latency", edge=2) >= COUNT


def test_interrupts_and_their_agents() -> None:
    with agent(SLEEPER, COUNT) as sleeper, both(ProbeName.IRQ_TO_RUN) as probed:
        sleeper.hear()
        sleeper.poke()
        sleeper.hear()
        stop(probed)
    assert agree(probed, "irq-to-run-exact") >= COUNT // 2


def test_system_calls() -> None:
    with agent(SYSCALLER, COUNT) as caller, both(ProbeName.SYSCALL) as probed:
        caller.hear()
        caller.poke()
        caller.hear()
        stop(probed)
    assert agree(probed, "syscall-time", edge=2) >= COUNT


def test_softirqs() -> None:
    with both(ProbeName.SOFTIRQ, for_agents=False) as probed:
        loopback(2_000)
        stop(probed)
    assert agree(probed, "softirq-time") >= 2_000
    agree(probed, "softirq-latency")
    agree(probed, "napi-poll-time")


def test_handlers_and_requests() -> None:
    with disk_file(1 << 20) as place:
        for name, metric in ((ProbeName.IRQ, "handler-time"), (ProbeName.BLOCK, "read-latency")):
            with both(name, for_agents=False) as probed:
                read_disk(place, COUNT)
                stop(probed)
            assert agree(probed, metric) >= COUNT // 2


def test_faults() -> None:
    """Under bcc only the waits in faults are timed."""
    with disk_file(COUNT << 16) as place:
        script = COLD_READER.replace("{place}", str(place))
        with agent(script, COUNT) as reader, both(ProbeName.FAULT) as probed:
            reader.hear()
            reader.poke()
            reader.hear()
            time.sleep(0.01)
            stop(probed)
    libbpf, bcc = (each.count("page fault") for each in probed)
    assert abs(libbpf - bcc) <= 2
    assert libbpf >= COUNT
    # How many faults wait depends on the disk: a fast one has read ahead by the next fault.
    assert bcc_waits(probed[1]) >= COUNT // 10


def bcc_waits(probed: Probed) -> int:
    return numbers(probed, "fault-wait").get(COMM, 0)
