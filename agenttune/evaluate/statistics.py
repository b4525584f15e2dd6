# SPDX-License-Identifier: GPL-2.0-only
"""Statistics: an interval for the mean of a few rounds.

The symmetric bootstrap-t: Hall, On symmetric bootstrap confidence intervals, JRSS B 50 (1988).
scipy.stats.bootstrap offers percentile, basic and BCa intervals, which cover too rarely for the six
to thirty rounds of an evaluation; tests/test_evaluate_statistics.py compares them. It also keeps
numpy off an operator's host.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

RESAMPLES = 4000
# Of fewer rounds a resample too often holds but one value.
MIN_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the interval that holds the true one with the level asked for."""

    mean: float
    low: float
    high: float


def interval(
    values: Sequence[float], level: float, seed: int, *, count: int = RESAMPLES
) -> Interval | None:
    """The interval of the mean of independent `values`; None for fewer than MIN_ROUNDS of them.

    Raises ValueError for a level outside 0 to 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level is between 0 and 1, not {level}")
    if len(values) < MIN_ROUNDS:
        return None
    mean, error = mean_and_error(values)
    if error == 0:
        return Interval(mean, mean, mean)
    centred = [(value - mean) / error for value in values]
    distances = sorted(map(_distance, resamples(centred, seed, count)))
    rank = math.ceil(round(level * count, 6))
    reach = distances[min(rank, count) - 1] * error
    return Interval(mean, mean - reach, mean + reach)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    count = len(values)
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)


def resamples(values: Sequence[float], seed: int, count: int = RESAMPLES) -> Iterator[list[float]]:
    """Samples of the same size, drawn with replacement; the same ones for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield draw.choices(values, k=len(values))


def _distance(sample: list[float]) -> float:
    """How many of its own standard errors a resample's mean is from 0, the mean of all."""
    count, total = len(sample), sum(sample)
    squares = sum(map(operator.mul, sample, sample)) - total * total / count
    # What rounding leaves of a resample that drew one value only.
    if squares <= 1e-9 * abs(total):
        return math.inf
    return abs(total) / math.sqrt(squares * count / (count - 1))
