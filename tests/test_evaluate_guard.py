# SPDX-License-Identifier: GPL-2.0-only
"""The guard: never at a false alarm, soon at a real one."""

from __future__ import annotations

import numpy as np

from agenttune.evaluate.guard import Guard
from agenttune.evaluate.step_log import Timing


def timings(durations: list[int]) -> list[Timing]:
    return [Timing(at, 0, 0, ns) for at, ns in enumerate(durations)]


def lognormal(rng: np.random.Generator, count: int, scale: float = 1.0) -> list[Timing]:
    return timings((scale * 1e6 * rng.lognormal(0, 0.5, count)).astype(int).tolist())


def test_an_arm_within_the_bound_is_never_stopped() -> None:
    rng = np.random.default_rng(1)
    guard = Guard(1.1)
    guard.learn(lognormal(rng, 20_000))
    for _ in range(300):
        count = int(rng.integers(1, 3000))
        assert guard.objection(lognormal(rng, count), 5.0) == ""


def test_an_arm_three_times_as_slow_is_stopped_early() -> None:
    rng = np.random.default_rng(2)
    guard = Guard(2.0)
    guard.learn(lognormal(rng, 20_000))
    for _ in range(50):
        assert "times the baseline's p99" in guard.objection(lognormal(rng, 300, 4.0), 1.0)


def test_one_slow_step_is_no_evidence() -> None:
    guard = Guard(2.0)
    guard.learn(timings([1000] * 5000))
    assert guard.objection(timings([10**9]), 1.0) == ""
    assert guard.objection(timings([10**9] * 2), 1.0) == ""
    assert guard.objection(timings([10**9] * 4), 1.0) != ""


def test_an_agent_that_ends_no_step_is_noticed() -> None:
    guard = Guard(2.0)
    guard.learn(timings([1000] * 5000))
    assert guard.objection([], 1.0) == ""
    assert guard.objection([], 6.0) == "no step ended in 6.0 s"


def test_without_enough_steps_for_p99_it_watches_a_lower_quantile_or_nothing() -> None:
    guard = Guard(2.0)
    assert guard.objection(timings([10**9] * 100), 1.0) == ""
    guard.learn(timings([1000] * 200))
    assert "times the baseline's p90" in guard.objection(timings([5000] * 100), 1.0)
