# SPDX-License-Identifier: GPL-2.0-only
"""Counts and quantiles against perf, which sees the same wakings through its own buffers."""

from __future__ import annotations

import pytest

from . import cross, matrix
from .subject import COMM

pytestmark = pytest.mark.bpf

# perf stamps the same tracepoints a little later or earlier, each with its own program's cost in
# between, and prints whole us.
MOST_DIFFERENCE = 0.05
SLACK_NS = 3_000
# perf loses some of the events that other tracers of the same tracepoints get.
MOST_LOST = 0.1


def test_perf_sched_counts_the_same() -> None:
    switches = cross.Switches()
    outcome = matrix.measure(
        ("hog", "peer", "timer"), 30, seed=8, beside=cross.perf_sched(switches)
    )
    count, *quantiles = cross.against_perf(switches, COMM, outcome.trace)
    assert count.theirs > 80
    assert abs(count.difference) < MOST_LOST, count
    assert [each for each in quantiles if each.samples > 20]
    for each in quantiles:
        assert abs(each.ours - each.theirs) <= SLACK_NS + MOST_DIFFERENCE * each.theirs, each
