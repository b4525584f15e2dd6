# SPDX-License-Identifier: GPL-2.0-only
"""Probes wakeup, syscall and fault against waits of known number and length."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from measure_loads import COMM, SLEEPER, agent
from probe_loads import (
    BY_COMM,
    COLD_READER,
    SLOW_FAULTER,
    SYSCALLER,
    Probed,
    disk_file,
    probing,
)

from agenttune.host.selector import Selector
from agenttune.measure.histogram import bucket_bounds
from agenttune.measure.measurement import Missing
from agenttune.measure.probe_layout import ProbeName

pytestmark = pytest.mark.bpf

TURNS = 100


def run_agent(script: str, count: int, name: ProbeName) -> tuple[Probed, str]:
    """What the probe saw of the agent's work, and what the agent said at its end."""
    with agent(script, count) as process:
        process.hear()
        with probing(name, BY_COMM) as probed:
            process.poke()
            said = process.hear()
            probed.stop()
    assert probed.coverage.lost == 0
    assert probed.coverage.recursion_misses == 0
    return probed, said


def waits(probed: Probed) -> tuple[Missing, ...]:
    """Not empty where this kernel hooks no function."""
    return tuple(each for each in probed.coverage.missing if each.probe == "handle_mm_fault")


def run_delay_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])


def test_each_sleep_ends_in_one_waking() -> None:
    """The kernel's own run delay begins at the queue; the waking comes a moment before."""
    with agent(SLEEPER, TURNS) as sleeper:
        sleeper.hear()
        with probing(ProbeName.WAKEUP, BY_COMM) as probed:
            before = run_delay_ns(sleeper.pid)
            sleeper.poke()
            sleeper.hear()
            probed.stop()
            delay_ns = run_delay_ns(sleeper.pid) - before
    (latencies,) = probed.times("wakeup-latency").values()
    assert set(probed.times("wakeup-latency")) == {COMM}
    assert TURNS <= latencies.count <= TURNS + 15
    # Preemption is in the kernel's figure only, the waking's own leg only in ours.
    assert latencies.total <= delay_ns + latencies.count * 200_000
    assert latencies.total >= 0.5 * delay_ns - latencies.count * 20_000


def test_nobody_else_is_timed() -> None:
    nobody = (Selector.parse("comm:at-nobody"),)
    with agent(SLEEPER, 10) as sleeper, probing(ProbeName.WAKEUP, nobody) as probed:
        sleeper.hear()
        sleeper.poke()
        sleeper.hear()
        probed.stop()
    assert probed.times("wakeup-latency") == {}


def test_every_system_call_is_counted_and_timed() -> None:
    probed, _ = run_agent(SYSCALLER, 1000, ProbeName.SYSCALL)
    times = probed.times("syscall-time")
    assert times["getppid"].count == 1000
    sleeps = times["clock_nanosleep"]
    assert sleeps.count == 20
    assert sleeps.total >= 20 * 3_000_000
    median = times["getppid"].quantile(0.5)
    assert median
    assert median.value < 1_000_000


def test_a_slow_fault_is_as_long_as_it_was_made() -> None:
    probed, _ = run_agent(SLOW_FAULTER, 20, ProbeName.FAULT)
    metric = "fault-wait" if waits(probed) else "minor-fault-time"
    found = probed.times(metric)[COMM]
    slow = sum(
        count for index, count in found.buckets.items() if bucket_bounds(index)[0] > 15_000_000
    )
    assert slow == 20
    assert 20 * 20_000_000 <= found.total < 20 * 20_000_000 + 1_000_000_000
    assert probed.count("page faults") >= 20


def test_faults_on_a_cold_file_are_the_kernels_major_faults() -> None:
    with disk_file(100 << 16) as place:
        script = COLD_READER.replace("{place}", str(place))
        probed, said = run_agent(script, 100, ProbeName.FAULT)
    major, every, sleeps = map(int, said.split())
    # A page may be there by the time that the task would sleep.
    metric, least = ("fault-wait", sleeps) if waits(probed) else ("major-fault-time", major)
    timed = probed.times(metric)[COMM].count
    assert major >= 90
    # The agent faults a little before and after the reads.
    assert 0.9 * least <= timed <= major + 10
    assert every <= probed.count("page faults") + 5
    assert probed.count("page faults") <= every + 300


def test_a_waking_after_the_window_is_not_timed() -> None:
    with agent(SLEEPER, 5) as sleeper, probing(ProbeName.WAKEUP, BY_COMM) as probed:
        sleeper.hear()
        probed.stop()
        sleeper.poke()
        sleeper.hear()
        time.sleep(0.01)
        later = probed.engine.take()
    assert later == ()
