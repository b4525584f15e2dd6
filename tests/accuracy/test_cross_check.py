# SPDX-License-Identifier: GPL-2.0-only
"""Counts and quantiles against perf, which sees the same wakings through its own buffers."""

from __future__ import annotations

import pytest

from . import cross, matrix
from .machine import is_slow
from .subject import COMM

pytestmark = pytest.mark.bpf

# Both stamp the same tracepoints, one a little after the other.
MOST_DIFFERENCE = 0.05
# What either program takes between the two stamps.
SLACK_NS = 500_000 if is_slow() else 6_000
# Some virtual machines leave out a tracepoint call now and then.
MOST_LOST = 0.05


def test_perf_counts_the_same() -> None:
    switches = cross.Switches()
    outcome = matrix.measure(
        ("hog", "peer", "timer"), 30, seed=8, beside=cross.beside_perf(switches)
    )
    count, *quantiles = cross.against_perf(switches, COMM, outcome.trace)
    assert count.theirs > 80
    assert abs(count.difference) < MOST_LOST, count
    assert [each for each in quantiles if each.samples > 20]
    for each in quantiles:
        assert abs(each.ours - each.theirs) <= SLACK_NS + MOST_DIFFERENCE * each.theirs, each
