# SPDX-License-Identifier: GPL-2.0-only
"""Histogram: mergeable log-linear buckets, the same in BPF maps and in Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile's bounds: the true sample lies in [low, high]; `value` is what to print.

    `count` is the histogram's; `enough` is False when fewer samples than the quantile needs.
    """

    q: float
    value: float
    low: float
    high: float
    count: int
    enough: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by bucket index (only non-zero ones), with the exact sum and maximum."""

    buckets: Mapping[int, int] = field(default_factory=dict)
    total: int = 0
    maximum: int = 0
