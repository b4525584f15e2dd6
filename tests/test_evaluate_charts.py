# SPDX-License-Identifier: GPL-2.0-only
"""Axes of the evaluation's charts: ticks that people can read, values where they belong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.report.charts import (
    SMALL,
    WIDTH,
    Scale,
    Series,
    even_ticks,
    line_chart,
    log_ticks,
    tick,
)
from agenttune.report.svg import text_width


@given(st.floats(1e-6, 1e9))
def test_even_ticks_are_round_and_neither_few_nor_many(high: float) -> None:
    found = even_ticks(high)
    assert 3 <= len(found) <= 7
    assert found[0] == 0 and found[-1] <= high * 1.001
    digits = f"{found[1]:.6e}".split("e")[0].rstrip("0").rstrip(".")
    assert digits in ("1", "2", "5")


@given(st.floats(1e-3, 1e9), st.floats(1.5, 1e8))
def test_log_ticks_are_inside(low: float, factor: float) -> None:
    found = log_ticks(low, low * factor)
    assert 0 < len(found) <= 9 or factor < 3
    assert all(low * 0.99 <= value <= low * factor * 1.01 for value in found)


@pytest.mark.parametrize("log", [True, False])
def test_a_scale_maps_its_ends_and_clips(log: bool) -> None:
    scale = Scale(10.0, 1000.0, 50, 150, log)
    assert (scale(10.0), scale(1000.0)) == (50, 150)
    assert scale(1.0) == 50 and scale(1e9) == 150
    assert scale(100.0) == (100 if log else 59.1)


def test_no_two_of_many_lines_look_alike() -> None:
    series = [Series(f"arm {n}", n, ((1.0, 1.0), (10.0, 2.0))) for n in range(20)]
    drawing = line_chart(series, label="", x_label=str, y_label=str, y_title="")
    strokes = [
        tuple(re.findall(r'stroke(?:-dasharray)?="([^"]*)"', line))
        for line in re.findall(r"<polyline[^>]*>", drawing)
    ]
    assert len(strokes) == 20 == len(set(strokes))


@given(st.floats(0, WIDTH), st.text("0123456789. mµs", min_size=1, max_size=12))
def test_a_label_is_below_its_tick_or_at_the_edge(at: float, said: str) -> None:
    found = re.search(r'x="([\d.]+)"', tick(at, 10, said))
    assert found
    left = float(found[1]) - text_width(said, SMALL) / 2
    right = left + text_width(said, SMALL)
    assert left >= -0.2 and right <= WIDTH + 0.2
    assert float(found[1]) == pytest.approx(at, abs=0.2) or min(left, WIDTH - right) < 0.2
