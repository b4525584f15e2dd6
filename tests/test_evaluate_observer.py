# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's side of a block: it agrees with the agent's clock, and its figures add up."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.evaluate.observer import Observer, agreement, difference
from agenttune.evaluate.step_log import Timing
from agenttune.evaluate.subject import working
from agenttune.evaluate.workload import Workload
from agenttune.host.cpumask import CpuMask
from agenttune.measure.histogram import Histogram, merge

SAMPLES = st.lists(st.integers(0, 1 << 36), max_size=50)


@given(SAMPLES, SAMPLES)
def test_the_difference_is_what_came_between(before: list[int], more: list[int]) -> None:
    then, new = Histogram.of(before), Histogram.of(more)
    found = difference(merge((then, new)), then)
    assert found.buckets == new.buckets and found.total == new.total
    if more:
        assert found.maximum >= max(more)


def test_agreement_counts_what_is_outside_and_what_is_unmatched() -> None:
    app = [Timing(1, 0, 100, 200), Timing(2, 0, 300, 400), Timing(3, 0, 500, 600)]
    kernel = [Timing(1, 0, 110, 190), Timing(2, 0, 290, 390), Timing(9, 0, 1, 2)]
    found = agreement(app, kernel)
    assert (found.app, found.kernel, found.matched, found.outside) == (3, 3, 2, 1)
    assert not found.good
    assert found.overhead_ns == Histogram.of([20, 0])


@pytest.mark.bpf
def test_a_block_agrees_with_the_agents_clock_and_adds_up() -> None:
    with (
        working(Workload(mix="tools", rate=None), (), 60.0) as subject,
        Observer(subject.selectors, "auto") as observer,
    ):
        cpus = CpuMask.of(range(64))
        for _ in range(2):
            observer.begin()
            subject.take()
            begin_ns = time.monotonic_ns()
            end_s = time.monotonic() + 1.0
            steps = []
            while time.monotonic() < end_s:
                time.sleep(0.05)
                observer.tick()
                steps += subject.take()
            end_ns = time.monotonic_ns()
            steps += subject.take()
            steps = [each for each in steps if begin_ns <= each.end_ns < end_ns]
            seen = observer.end(begin_ns, end_ns, cpus, steps)
            found = seen.agreement
            assert found is not None and found.good
            # A step at the edge may be in one only: its two ends are a few us apart.
            assert min(found.app, found.kernel) >= found.matched >= found.app - 2 > 50
            assert seen.lost == 0
            assert seen.slow_steps == -(-found.kernel // 100)
            assert sum(seen.slow_buckets_ns) == pytest.approx(seen.slow_ns, rel=0.001)
            slowest = sorted(each.duration_ns for each in steps)[-seen.slow_steps :]
            assert seen.slow_ns <= sum(slowest)
            assert seen.softirqs.count > 0
