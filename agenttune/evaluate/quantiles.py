# SPDX-License-Identifier: GPL-2.0-only
"""Quantiles of the steps of one block: values that occurred, or how many steps they need."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agenttune.measure.histogram import SAMPLES_BEYOND

QUANTILES = (0.5, 0.9, 0.99, 0.999)
NAMES = ("p50", "p90", "p99", "p999")


def needed(q: float) -> int:
    """How many samples a quantile needs: SAMPLES_BEYOND of them beyond it."""
    return math.ceil(round(SAMPLES_BEYOND / (1 - q), 6))


def quantile(ordered: Sequence[int], q: float) -> int | None:
    """The sample of rank ceil(q * count), as Histogram has it; None with too few samples."""
    if len(ordered) < needed(q):
        return None
    # Rounding first: 0.99 * 1100 is 1089.0000000000002 in binary floating point.
    return ordered[max(0, math.ceil(round(q * len(ordered), 6)) - 1)]


def quantiles(samples: Sequence[int]) -> tuple[int | None, ...]:
    """All of QUANTILES."""
    ordered = sorted(samples)
    return tuple(quantile(ordered, q) for q in QUANTILES)
