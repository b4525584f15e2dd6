# SPDX-License-Identifier: GPL-2.0-only
"""Reports: aligned, honest about what is unknown, harmless to a terminal."""

from __future__ import annotations

import pytest

from agenttune.measure.histogram import Histogram
from agenttune.report.table import table
from agenttune.report.units import duration, per_cpu, percent, quantile_cells


def test_columns_align_and_numbers_go_right() -> None:
    assert table(("CPU", "what"), [(3, "a"), (128, None)], indent="") == (
        "CPU  what\n  3  a\n128  unknown\n"
    )


def test_a_device_address_is_no_number() -> None:
    rows = [("0000:00:03.0/1/a", "0-3"), ("0000:00:03.0/10/b", "1")]
    lines = table(("vector", "mask"), rows, indent="").splitlines()
    assert [line.index("0000") for line in lines[1:]] == [0, 0]
    assert lines[2].endswith("  1")


def test_no_rows_no_table() -> None:
    assert table(("CPU",), []) == ""


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert table(("comm",), [("a\x1b[2Jb\n",)], indent="") == "comm\na?[2Jb?\n"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (999.6, "1.00 us"),
        (12_345, "12.3 us"),
        (999_499, "999 us"),
        (999_500, "1.00 ms"),
        (2_500_000_000, "2.50 s"),
    ],
)
def test_durations_keep_three_digits(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_percent_of_nothing_is_no_number() -> None:
    assert (percent(1, 3), percent(1, 0)) == ("33.33", "-")


def test_counts_name_the_busiest_cpus_first() -> None:
    assert (
        per_cpu({0: 1, 1: 9, 2: 5, 3: 4, 4: 3, 5: 2}) == "cpu1:9 cpu2:5 cpu3:4 cpu4:3 +3 on 2 more"
    )
    assert per_cpu({}) == "0"


def test_a_quantile_without_enough_samples_is_not_printed() -> None:
    assert quantile_cells(Histogram.of([10] * 200), "packets") == ["10", "10", "few", "few"]
    assert quantile_cells(Histogram.of([]), "ns") == ["few"] * 4
