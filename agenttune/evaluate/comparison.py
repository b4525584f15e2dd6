# SPDX-License-Identifier: GPL-2.0-only
"""Comparison: an arm's quantiles as ratios to the baseline's, round by round.

The unit is the round: steps of one block share their minute of the machine, so they are no
independent samples. A round gives one ratio per quantile, between blocks that ran one after the
other. The figure is the geometric mean of the rounds' ratios, which is also the ratio of the
geometric means that the report prints for the two arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agenttune.evaluate.quantiles import NAMES, QUANTILES, needed
from agenttune.evaluate.statistics import MIN_ROUNDS, Interval, interval

# All intervals of one arm hold together with this probability.
LEVEL = 0.95
BASELINE = "baseline"


class Verdict(StrEnum):
    FASTER = "faster"
    SLOWER = "slower"
    NO_EVIDENCE = "no evidence of a difference"
    TOO_FEW = "too few"


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantile of one arm over its blocks; `ns` is a geometric mean. None: too few, see `why`.

    `why` says what is missing, and how much would do.
    """

    quantile: str
    ns: float | None
    low_ns: float | None = None
    high_ns: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantile of one arm, relative to the baseline: 0.5 takes half the time."""

    arm: str
    quantile: str
    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class BlockFigures:
    """What the statistics need of one block: its steps, and a quantile's ns where there is one."""

    steps: int
    quantiles_ns: tuple[int | None, ...]


# A complete round has a block for every arm.
Round = Mapping[str, BlockFigures]


def figures(arm: str, rounds: Sequence[Round], seed: int) -> tuple[Figure, ...]:
    """The arm's quantiles; intervals hold together at LEVEL."""
    blocks = [each[arm] for each in rounds]
    found = []
    for index, (name, why) in enumerate(zip(NAMES, _shortages(blocks), strict=True)):
        if why:
            found.append(Figure(name, None, why=why))
            continue
        logs = [math.log(block.quantiles_ns[index] or 1) for block in blocks]
        within = interval(logs, _level_of_one(blocks), seed)
        if within is None:
            found.append(Figure(name, math.exp(math.fsum(logs) / len(logs)), why=_few(rounds)))
        else:
            found.append(Figure(name, *_exponentials(within)))
    return tuple(found)


def compare(arm: str, rounds: Sequence[Round], seed: int) -> tuple[Comparison, ...]:
    """The arm beside the baseline, for each quantile that both have in every round."""
    return tuple(_compare(arm, index, rounds, seed) for index in range(len(QUANTILES)))


def _compare(arm: str, index: int, rounds: Sequence[Round], seed: int) -> Comparison:
    name = NAMES[index]
    blocks = [each[key] for each in rounds for key in (arm, BASELINE)]
    why = _shortages(blocks)[index]
    if why:
        return Comparison(arm, name, Verdict.TOO_FEW, rounds=len(rounds), why=why)
    logs = [
        math.log((each[arm].quantiles_ns[index] or 1) / (each[BASELINE].quantiles_ns[index] or 1))
        for each in rounds
    ]
    within = interval(logs, _level_of_one(blocks), seed)
    if within is None:
        ratio = math.exp(math.fsum(logs) / len(logs))
        return Comparison(arm, name, Verdict.TOO_FEW, ratio, rounds=len(rounds), why=_few(rounds))
    ratio, low, high = _exponentials(within)
    return Comparison(arm, name, _verdict(low, high), ratio, low, high, len(rounds))


def _verdict(low: float, high: float) -> Verdict:
    if high < 1:
        return Verdict.FASTER
    return Verdict.SLOWER if low > 1 else Verdict.NO_EVIDENCE


def _level_of_one(blocks: Sequence[BlockFigures]) -> float:
    """Bonferroni over the quantiles that have enough samples."""
    printed = sum(not why for why in _shortages(blocks))
    return 1 - (1 - LEVEL) / max(printed, 1)


def _shortages(blocks: Sequence[BlockFigures]) -> list[str]:
    """For each quantile, what is missing; '' for one that every block has."""
    if not blocks:
        return ["no round is complete"] * len(QUANTILES)
    least = min(block.steps for block in blocks)
    return [
        f"needs {needed(q)} steps in a block, the smallest has {least}"
        if any(block.quantiles_ns[index] is None for block in blocks)
        else ""
        for index, q in enumerate(QUANTILES)
    ]


def _few(rounds: Sequence[Round]) -> str:
    return f"an interval needs {MIN_ROUNDS} rounds, there are {len(rounds)}"


def _exponentials(within: Interval) -> tuple[float, float, float]:
    low, high = (_exp(bound) for bound in (within.low, within.high))
    return math.exp(within.mean), low, high


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
