# SPDX-License-Identifier: GPL-2.0-only
"""Guard: stops an arm that makes the agent's tail worse than a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agenttune.evaluate.quantiles import QUANTILES, quantile
from agenttune.evaluate.step_log import Timing

# How improbable so many slow steps must be, if the tail were not worse, before an arm is stopped.
_IMPROBABLE = math.log(1e-6)
_SILENCE_S = 5.0
# The newest steps of the baseline are enough, and bound the memory.
_REFERENCE_STEPS = 100_000


class Guard:
    """`factor` 2: the bound is twice the baseline's p99, or its p90 while p99 has too few steps.

    One slow step is no evidence: the arm is stopped when so many exceed the bound that an arm
    within it would hardly ever show as many, or when no step ends at all.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._durations: list[int] = []

    def learn(self, baseline: Sequence[Timing]) -> None:
        self._durations += [each.duration_ns for each in baseline]
        del self._durations[:-_REFERENCE_STEPS]

    def objection(self, steps: Sequence[Timing], seconds: float) -> str:
        """Why the arm must not go on after `steps` of its first `seconds`; '' while it may."""
        found = self._reference()
        if found is None:
            return ""
        q, ns = found
        bound_ns = self._factor * ns
        name = f"p{100 * q:g}"
        if not steps:
            silent = seconds > max(_SILENCE_S, 10 * bound_ns / 1e9)
            return f"no step ended in {seconds:.1f} s" if silent else ""
        slow = sum(each.duration_ns > bound_ns for each in steps)
        if _log_tail(slow, len(steps), 1 - q) > _IMPROBABLE:
            return ""
        return (
            f"{slow} of {len(steps)} steps took longer than {bound_ns / 1e6:.2f} ms, "
            f"{self._factor:g} times the baseline's {name}"
        )

    def _reference(self) -> tuple[float, float] | None:
        ordered = sorted(self._durations)
        for q in sorted(QUANTILES, reverse=True):
            ns = quantile(ordered, q) if q <= 0.99 else None
            if ns is not None:
                return q, ns
        return None


def _log_tail(slow: int, steps: int, share: float) -> float:
    """Chernoff's bound of the logarithm of P(at least `slow` of `steps`), each with `share`."""
    seen = slow / steps
    if seen <= share:
        return 0.0
    if seen >= 1:
        return steps * math.log(share)
    rest = (1 - seen) * math.log((1 - seen) / (1 - share))
    return -steps * (seen * math.log(seen / share) + rest)
