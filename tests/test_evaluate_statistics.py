# SPDX-License-Identifier: GPL-2.0-only
"""Intervals hold their level: against scipy, and by simulation of whole evaluations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluate_worlds import synthetic_rounds
from scipy import stats

from agenttune.evaluate.comparison import LEVEL, BlockFigures, Verdict, compare, figures
from agenttune.evaluate.statistics import (
    MIN_ROUNDS,
    interval,
    mean_and_error,
    resamples,
)

QUANTILES_JUDGED = ("p50", "p90", "p99")


def test_mean_and_error_are_scipys() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 23)
    mean, error = mean_and_error(values.tolist())
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert error == pytest.approx(stats.sem(values), rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.9875])
def test_the_resampling_is_scipys(level: float) -> None:
    """Percentile intervals of the same data differ only by the luck of the draw."""
    values = np.random.default_rng(2).exponential(1, 20)
    means = [sum(each) / len(each) for each in resamples(values.tolist(), seed=5, count=20_000)]
    ours = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", confidence_level=level, n_resamples=20_000, rng=7
    ).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.05 * stats.sem(values) * 2)


@pytest.mark.parametrize("count", [8, 15, 40])
def test_studentised_like_an_independent_vectorised_bootstrap(count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.exponential(1, count)
    drawn = values[rng.integers(0, count, (40_000, count))]
    with np.errstate(divide="ignore"):
        distances = np.abs(drawn.mean(1) - values.mean()) / stats.sem(drawn, axis=1)
    reach = np.quantile(distances, 0.95, method="inverted_cdf") * stats.sem(values)
    found = interval(values.tolist(), 0.95, seed=1)
    assert found is not None
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(reach, rel=0.08)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_of_many_normal_values_it_is_students_interval() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    found = interval(values.tolist(), 0.95, seed=1)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)


@pytest.mark.parametrize("shape", ["normal", "heavy", "skewed"])
def test_it_covers_small_samples_better_than_scipys_intervals(shape: str) -> None:
    """Of 250 intervals at 95 %, fewer than 226 would hold the mean once in 1000."""
    rng = np.random.default_rng(4)
    count = 8
    draw = {
        "normal": lambda: rng.normal(0, 1, count),
        "heavy": lambda: rng.standard_t(3, count),
        "skewed": lambda: rng.gamma(2, 1, count) - 2,
    }[shape]
    ours = percentile = 0
    for repetition in range(250):
        values = draw()
        found = interval(values.tolist(), 0.95, seed=repetition, count=1000)
        assert found is not None
        ours += found.low <= 0 <= found.high
        scipys = stats.bootstrap(
            (values,), np.mean, method="percentile", n_resamples=1000, rng=repetition
        ).confidence_interval
        percentile += scipys.low <= 0 <= scipys.high
    assert ours >= 226
    assert ours > percentile


def test_few_rounds_have_no_interval_and_say_so() -> None:
    assert interval([1.0] * (MIN_ROUNDS - 1), 0.95, seed=1) is None
    rounds = synthetic_rounds(np.random.default_rng(5), rounds=MIN_ROUNDS - 1)
    found = compare("other", rounds, seed=1)
    assert [each.verdict for each in found] == [Verdict.TOO_FEW] * 4
    assert f"needs {MIN_ROUNDS} rounds, there are {MIN_ROUNDS - 1}" in found[0].why
    assert found[0].ratio is not None and found[0].low is None


def test_identical_values_have_an_interval_of_no_width() -> None:
    found = interval([0.25] * 10, 0.95, seed=1)
    assert found is not None and (found.low, found.high) == (0.25, 0.25)
    assert interval([1.0, 2.0] * 5, 0.95, 1) == interval([1.0, 2.0] * 5, 0.95, 1)


def test_a_quantile_without_enough_steps_says_how_many_it_needs() -> None:
    rounds = synthetic_rounds(np.random.default_rng(6), steps=500)
    found = {each.quantile: each for each in compare("other", rounds, seed=1)}
    assert found["p90"].ratio is not None
    assert found["p99"].verdict is Verdict.TOO_FEW and found["p99"].ratio is None
    assert found["p99"].why == "needs 1000 steps in a block, the smallest has 500"
    assert "needs 10000 steps" in found["p999"].why
    shown = {each.quantile: each for each in figures("other", rounds, seed=1)}
    assert shown["p999"].ns is None and shown["p50"].low_ns < shown["p50"].ns < shown["p50"].high_ns


def test_the_ratio_of_the_arms_figures_is_the_comparisons_ratio() -> None:
    rounds = synthetic_rounds(np.random.default_rng(7), slowdown=1.7)
    arm, base = (figures(name, rounds, seed=1)[1].ns for name in ("other", "baseline"))
    assert arm is not None and base is not None
    assert compare("other", rounds, seed=1)[1].ratio == pytest.approx(arm / base, rel=1e-9)


def test_no_round_at_all_is_no_error() -> None:
    assert all(each.verdict is Verdict.TOO_FEW for each in compare("other", [], seed=1))
    assert all(each.ns is None for each in figures("other", [], seed=1))


def test_scaling_one_arm_scales_its_ratio_exactly() -> None:
    rounds = synthetic_rounds(np.random.default_rng(8))
    scaled = [{**each, "other": twice(each["other"])} for each in rounds]
    before, after = (compare("other", each, seed=1)[0] for each in (rounds, scaled))
    for name in ("ratio", "low", "high"):
        assert getattr(after, name) == pytest.approx(2 * getattr(before, name), rel=1e-9)


def twice(block: BlockFigures) -> BlockFigures:
    return BlockFigures(
        block.steps, tuple(None if ns is None else 2 * ns for ns in block.quantiles_ns)
    )


def test_two_identical_arms_differ_at_most_at_the_stated_level() -> None:
    """A/A: of 200 evaluations at most 5 % may find a difference in any quantile; 20 would be 10 %,
    which a true rate of 5 % exceeds once in 500."""
    rng, wrong = np.random.default_rng(9), 0
    for repetition in range(200):
        found = compare("other", synthetic_rounds(rng), seed=repetition)
        wrong += any(each.verdict in (Verdict.FASTER, Verdict.SLOWER) for each in found)
    assert wrong <= 20
    assert LEVEL == 0.95


def test_a_known_slowdown_is_found_and_covered() -> None:
    """A/B: +20 % on every step, 100 evaluations."""
    rng = np.random.default_rng(10)
    detected = 0
    covered = dict.fromkeys(QUANTILES_JUDGED, 0)
    for repetition in range(100):
        found = compare("other", synthetic_rounds(rng, slowdown=1.2), seed=repetition)
        detected += any(each.verdict is Verdict.SLOWER for each in found)
        for each in found[:3]:
            assert each.low is not None and each.high is not None
            covered[each.quantile] += each.low <= 1.2 <= each.high
    assert detected >= 95
    assert all(count >= 90 for count in covered.values()), covered


def test_resampling_steps_instead_of_rounds_would_not_hold_the_level() -> None:
    """Why the unit is the round: the same blocks, their steps taken as independent."""
    rng, wrong = np.random.default_rng(11), 0
    for _ in range(60):
        shifts = rng.normal(0, 0.04, 2)
        logs = [rng.normal(shift, 0.3, 1200) for shift in shifts]
        wrong += stats.ttest_ind(*logs).pvalue < 0.05
    assert wrong > 30


def test_values_far_apart_do_not_overflow() -> None:
    found = compare("other", [
        {"baseline": BlockFigures(100, (1, 1, None, None)),
         "other": BlockFigures(100, (10 ** (300 if at == 3 else 1), 1, None, None))}
        for at in range(8)
    ], seed=1)  # fmt: skip
    assert found[0].ratio is not None and math.isfinite(found[0].ratio)
