# SPDX-License-Identifier: GPL-2.0-only
"""Histogram against exact sorted samples, HdrHistogram and DDSketch."""

from __future__ import annotations

import math

import pytest
from ddsketch import DDSketch
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from agenttune.measure.histogram import (
    BUCKETS,
    RELATIVE_ERROR,
    TOP_BIT,
    Histogram,
    bucket_bounds,
    bucket_of,
    merge,
)

TOP = 1 << TOP_BIT
values = st.one_of(st.integers(0, 64), st.integers(0, 10_000_000), st.integers(0, TOP - 1))
samples = st.lists(values, min_size=1, max_size=300)
quantiles = st.sampled_from([0, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1]) | st.floats(0, 1)


def exact(data: list[int], q: float) -> int:
    """The sample of rank ceil(q * n)."""
    return sorted(data)[max(1, math.ceil(round(q * len(data), 6))) - 1]


@given(values)
def test_bucket_holds_its_value_within_the_stated_error(value: int) -> None:
    low, high = bucket_bounds(bucket_of(value))
    assert low <= value
    assert high is None or value <= high
    if high is not None:
        assert abs((low + high) / 2 - value) <= RELATIVE_ERROR * value


def test_buckets_tile_the_numbers() -> None:
    end = -1
    for index in range(BUCKETS):
        low, high = bucket_bounds(index)
        assert low == end + 1
        end = high if high is not None else math.inf
    assert bucket_of(1 << 63) == BUCKETS - 1


@given(samples, quantiles)
def test_quantile_bounds_hold_the_sample_of_that_rank(data: list[int], q: float) -> None:
    found = Histogram.of(data).quantile(q)
    truth = exact(data, q)
    assert found is not None
    assert found.low <= truth <= found.high <= max(data)
    assert found.count == len(data)
    if truth < bucket_bounds(BUCKETS - 1)[0]:
        assert abs(found.value - truth) <= RELATIVE_ERROR * truth


@given(st.lists(st.integers(TOP, TOP * 1000), min_size=1, max_size=20))
def test_values_beyond_the_last_bucket_keep_true_bounds(data: list[int]) -> None:
    found = Histogram.of(data).quantile(0.5)
    assert found is not None
    assert found.low <= exact(data, 0.5) <= found.high == max(data)


@given(st.lists(samples, max_size=5))
def test_merging_is_measuring_together(parts: list[list[int]]) -> None:
    together = Histogram.of(sample for part in parts for sample in part)
    merged = merge(Histogram.of(part) for part in parts)
    assert dict(merged.buckets) == dict(together.buckets)
    assert (merged.total, merged.maximum) == (together.total, together.maximum)


@given(samples)
def test_mean_and_count_are_exact(data: list[int]) -> None:
    histogram = Histogram.of(data)
    assert histogram.count == len(data)
    assert histogram.mean == sum(data) / len(data)


@given(samples)
def test_counts_of_a_map_value_give_the_same_histogram(data: list[int]) -> None:
    counts = [0] * BUCKETS
    for sample in data:
        counts[bucket_of(sample)] += 1
    assert Histogram.from_counts(counts, sum(data), max(data)) == Histogram.of(data)


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=300), quantiles)
def test_agrees_with_hdrhistogram(data: list[int], q: float) -> None:
    """HdrHistogram's value at a percentile is within 10^-3 of the sample of the same rank."""
    peer = HdrHistogram(1, 20_000_000, 3)
    for sample in data:
        peer.record_value(sample)
    found = Histogram.of(data).quantile(round(q, 3))
    theirs = peer.get_value_at_percentile(round(q, 3) * 100)
    assert found is not None
    # Its rank is rounded where ours is the next one up: a neighbour's bounds are as right.
    ordered = sorted(data)
    rank = max(1, math.ceil(round(round(q, 3) * len(data), 6)))
    near = ordered[max(0, rank - 2) : rank + 1]
    assert min(near) * 0.998 <= theirs <= max(near) * 1.002 + 1
    assert min(near) <= found.high
    assert found.low <= max(near)


odd_lists = st.lists(st.integers(1, 10_000_000), min_size=1, max_size=300).filter(
    lambda data: len(data) % 2
)


@given(odd_lists)
def test_agrees_with_ddsketch_at_the_median_of_an_odd_count(data: list[int]) -> None:
    """Both define the median of an odd count as the middle sample."""
    peer = DDSketch(0.001)
    for sample in data:
        peer.add(sample)
    found = Histogram.of(data).quantile(0.5)
    theirs = peer.get_quantile_value(0.5)
    assert found is not None
    assert theirs is not None
    assert found.low * 0.998 <= theirs <= found.high * 1.002


@pytest.mark.parametrize(
    ("q", "needed"), [(0.5, 20), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000)]
)
def test_a_quantile_needs_ten_samples_beyond_it(q: float, needed: int) -> None:
    few = Histogram({5: needed - 1}, total=0, maximum=5).quantile(q)
    many = Histogram({5: needed}, total=0, maximum=5).quantile(q)
    assert few is not None
    assert many is not None
    assert (few.enough, many.enough) == (False, True)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean is None
    assert Histogram().count == 0


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_outside_zero_to_one_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Histogram.of([1]).quantile(q)


def test_a_negative_value_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        bucket_of(-1)
