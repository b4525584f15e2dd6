# SPDX-License-Identifier: GPL-2.0-only
"""Histogram: mergeable log-linear buckets, the same in BPF maps and in Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# The layout of bpf/histogram.h: 16 buckets per power of two, so values below 16 are exact.
SUB_BITS = 4
SUB_BUCKETS = 1 << SUB_BITS
TOP_BIT = 35
BUCKETS = (TOP_BIT - SUB_BITS + 1) * SUB_BUCKETS

# |Quantile.value - sample| <= RELATIVE_ERROR * sample, for samples below 2**TOP_BIT (34 s in ns):
# a bucket is at most 1/16 of its lowest value wide and its middle is printed.
RELATIVE_ERROR = 1 / (2 * SUB_BUCKETS)

# A quantile needs this many samples beyond it: p95 200 samples, p99 1,000, p999 10,000.
SAMPLES_BEYOND = 10


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

    @classmethod
    def from_counts(cls, counts: Sequence[int], total: int, maximum: int) -> Histogram:
        """A BPF map's value: one count per bucket."""
        return cls({i: count for i, count in enumerate(counts) if count}, total, maximum)

    @classmethod
    def of(cls, samples: Iterable[int]) -> Histogram:
        """The histogram of these samples, none of them negative."""
        buckets: dict[int, int] = {}
        total = maximum = 0
        for sample in samples:
            index = bucket_of(sample)
            buckets[index] = buckets.get(index, 0) + 1
            total += sample
            maximum = max(maximum, sample)
        return cls(buckets, total, maximum)

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    @property
    def mean(self) -> float | None:
        """The exact mean; None without samples."""
        count = self.count
        return self.total / count if count else None

    def quantile(self, q: float) -> Quantile | None:
        """The sample of rank ceil(q * count); None without samples.

        Raises ValueError for a q outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is between 0 and 1, not {q}")
        count = self.count
        if not count:
            return None
        # Rounding first: 0.99 * 100 is 99.00000000000001 in binary floating point.
        rank = max(1, math.ceil(round(q * count, 6)))
        low, high = bucket_bounds(self._bucket_of_rank(rank))
        high = self.maximum if high is None else min(high, self.maximum)
        enough = round(count * (1 - q), 6) >= SAMPLES_BEYOND
        return Quantile(q, (low + high) / 2, low, high, count, enough)

    def _bucket_of_rank(self, rank: int) -> int:
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= rank:
                return index
        raise AssertionError(f"rank {rank} of {seen} samples")


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """All samples of all of them in one histogram."""
    buckets: dict[int, int] = {}
    total = maximum = 0
    for histogram in histograms:
        for index, count in histogram.buckets.items():
            buckets[index] = buckets.get(index, 0) + count
        total += histogram.total
        maximum = max(maximum, histogram.maximum)
    return Histogram(buckets, total, maximum)


def bucket_of(value: int) -> int:
    """The index of a value's bucket. Raises ValueError for a negative value."""
    if value < 0:
        raise ValueError(f"a histogram holds no negative value ({value})")
    if value < SUB_BUCKETS:
        return value
    bit = value.bit_length() - 1
    if bit >= TOP_BIT:
        return BUCKETS - 1
    shift = bit - SUB_BITS
    return (shift + 1) * SUB_BUCKETS + (value >> shift & SUB_BUCKETS - 1)


def bucket_bounds(index: int) -> tuple[int, int | None]:
    """The lowest and highest value of a bucket; the last one has no highest."""
    if index < SUB_BUCKETS:
        return index, index
    shift, step = divmod(index, SUB_BUCKETS)
    shift -= 1
    low = SUB_BUCKETS + step << shift
    if index == BUCKETS - 1:
        return low, None
    return low, low + (1 << shift) - 1
