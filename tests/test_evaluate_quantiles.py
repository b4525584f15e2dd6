# SPDX-License-Identifier: GPL-2.0-only
"""Quantiles against numpy's inverted CDF, on distributions made to trip them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.evaluate.quantiles import QUANTILES, needed, quantile, quantiles
from agenttune.measure.histogram import Histogram

RNG = np.random.default_rng(1)
ADVERSARIAL = {
    "constant": np.full(20_000, 7),
    "two values": np.array([1] * 9_900 + [10**9] * 100),
    "one huge": np.array([1] * 19_999 + [2**62]),
    "ties at the rank": np.array([5] * 9_000 + [6] * 1_000),
    "alternating": np.tile([1, 10**6], 10_000),
    "descending": np.arange(20_000, 0, -1),
    "zeros": np.zeros(20_000, dtype=int),
    "pareto": (1e3 * RNG.pareto(0.8, 20_000)).astype(np.int64),
    "bimodal": np.concatenate([RNG.integers(1, 9, 10_000), RNG.integers(10**8, 10**9, 10_000)]),
    "odd count": RNG.integers(0, 10**9, 10_007),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_quantile_is_numpys(name: str) -> None:
    samples = ADVERSARIAL[name]
    expected = [int(np.quantile(samples, q, method="inverted_cdf")) for q in QUANTILES]
    assert list(quantiles(samples.tolist())) == expected


@given(st.lists(st.integers(0, 2**40), min_size=20, max_size=300), st.sampled_from((0.5, 0.9)))
def test_the_share_below_and_above_is_right(samples: list[int], q: float) -> None:
    found = quantile(sorted(samples), q)
    if found is None:
        assert len(samples) < needed(q)
        return
    assert sum(value < found for value in samples) < round(q * len(samples), 6)
    assert sum(value <= found for value in samples) >= round(q * len(samples), 6)
    wide = Histogram.of(samples).quantile(q)
    assert wide is not None and wide.low <= min(found, 2**35) <= max(wide.high, 2**35)


@pytest.mark.parametrize(("q", "count"), [(0.5, 20), (0.9, 100), (0.99, 1000), (0.999, 10_000)])
def test_a_quantile_needs_ten_samples_beyond_it(q: float, count: int) -> None:
    assert needed(q) == count
    assert quantile(list(range(count - 1)), q) is None
    found = quantile(list(range(count)), q)
    assert found is not None and count - 1 - found == 10
