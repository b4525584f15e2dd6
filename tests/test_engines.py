# SPDX-License-Identifier: GPL-2.0-only
"""Both engines over one load in one window: what they count must agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
from measure_loads import (
    COMM,
    LATE_THREAD,
    PIPE_READER,
    SLEEPER,
    agent,
    disk,
    loopback,
    read_disk,
    timers,
)
from test_measure_counts import IN_FLIGHT, between, bpf_counts

from agenttune.host.selector import Selector
from agenttune.measure.measurement import Measurement
from agenttune.measure.session import Session

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("bcc_here")]

TURNS = 100


@dataclass
class Both:
    """Sessions of the two engines, open at once."""

    libbpf: Session
    bcc: Session

    def counts(self) -> tuple[Mapping, Mapping, Mapping]:
        """libbpf's counts before and after bcc's."""
        first = bpf_counts(self.libbpf.read())
        return first, bpf_counts(self.bcc.read()), bpf_counts(self.libbpf.read())

    def stop(self) -> tuple[Measurement, Measurement]:
        self.libbpf.stop()
        self.bcc.stop()
        return self.libbpf.read(), self.bcc.read()


@pytest.fixture
def both() -> Iterator[Both]:
    chosen = [Selector.parse(f"comm:{COMM}")]
    with Session(chosen, engine="bcc") as bcc, Session(chosen, engine="libbpf") as libbpf:
        yield Both(libbpf, bcc)


def storm() -> None:
    read_disk(disk(), 500)
    loopback(5_000)
    timers(100)


def compare(both: Both, load: Callable[[], None]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """For each row and CPU: bcc's growth, and the least and most of libbpf's."""
    before = both.counts()
    load()
    after = both.counts()
    rows = before[0].keys() | after[1].keys() | after[2].keys()
    outer = ((before[0], before[2]), (after[0], after[2]))
    return {
        row: (after[1].get(row, 0) - before[1].get(row, 0), *between(*outer, row)) for row in rows
    }


def test_interrupts_and_softirqs_count_the_same_on_every_cpu(both: Both) -> None:
    found = compare(both, storm)
    assert sum(count for count, _, _ in found.values()) >= 5_000
    differing = {
        row: counts
        for row, counts in found.items()
        if not counts[1] - IN_FLIGHT <= counts[0] <= counts[2] + IN_FLIGHT
    }
    assert not differing


def samples(found: Measurement, metric: str) -> dict[str, int]:
    return {
        each.subject: each.histogram.count for each in found.distributions if each.metric == metric
    }


def close_by(first: Mapping[str, int], second: Mapping[str, int], slack: int) -> bool:
    """The two windows do not open and close in the same moment."""
    keys = first.keys() | second.keys()
    return all(abs(first.get(key, 0) - second.get(key, 0)) <= slack for key in keys)


def test_wakings_are_the_same_by_their_context(both: Both) -> None:
    with agent(SLEEPER, TURNS) as sleeper, agent(PIPE_READER, TURNS) as reader:
        sleeper.hear()
        reader.hear()
        sleeper.poke()
        for _ in range(TURNS + 1):
            reader.poke()
            time.sleep(0.001)
        sleeper.hear()
        reader.hear()
        libbpf, bcc = both.stop()
        waking = samples(libbpf, "wakeup-latency"), samples(bcc, "wakeup-latency")
        assert sum(waking[0].values()) >= TURNS
        assert close_by(*waking, slack=3), waking
        switches = [
            {str(load.tgid): 0 for load in found.agents}
            | {
                str(tgid): sum(load.switches_in for load in found.agents if load.tgid == tgid)
                for tgid in {load.tgid for load in found.agents}
            }
            for found in (libbpf, bcc)
        ]
        assert close_by(*switches, slack=3), switches


def test_agents_run_as_long(both: Both) -> None:
    with agent(LATE_THREAD) as process:
        process.hear()
        process.poke()
        process.hear()
        found = both.stop()
    own, stolen = (
        [sum(getattr(load, what) for load in each.agents) for each in found]
        for what in ("run_ns", "stolen_ns")
    )
    assert own[0] >= 0.02e9
    # Each engine's own programs run in what the other takes for the agent's time or an interrupt's.
    assert 0.95 * own[0] <= own[1] <= 1.05 * own[0]
    assert abs(own[0] + stolen[0] - own[1] - stolen[1]) <= 0.02 * own[0]


def test_neither_engine_loses_anything(both: Both) -> None:
    storm()
    for found in both.stop():
        assert found.coverage.lost == 0
        assert found.coverage.recursion_misses == 0
    libbpf, bcc = (found.coverage.missing for found in both.stop())
    assert libbpf == bcc
