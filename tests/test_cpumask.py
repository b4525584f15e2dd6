# SPDX-License-Identifier: GPL-2.0-only
"""CpuMask against Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.host.cpumask import MAX_CPU, CpuMask

cpu_sets = st.frozensets(st.integers(0, MAX_CPU), max_size=40)


@given(cpu_sets)
def test_list_form_round_trips(cpus: frozenset[int]) -> None:
    assert CpuMask.parse_list(str(CpuMask.of(cpus))) == CpuMask.of(cpus)


@given(cpu_sets)
def test_hex_form_round_trips(cpus: frozenset[int]) -> None:
    assert CpuMask.parse_hex(CpuMask.of(cpus).to_hex()) == CpuMask.of(cpus)


@given(cpu_sets)
def test_hex_groups_have_eight_digits(cpus: frozenset[int]) -> None:
    assert all(len(group) == 8 for group in CpuMask.of(cpus).to_hex().split(","))


@given(cpu_sets, cpu_sets)
def test_operators_are_those_of_sets(left: frozenset[int], right: frozenset[int]) -> None:
    a, b = CpuMask.of(left), CpuMask.of(right)
    assert set(a & b) == left & right
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)


@given(cpu_sets)
def test_it_counts_and_iterates_in_order(cpus: frozenset[int]) -> None:
    mask = CpuMask.of(cpus)
    assert list(mask) == sorted(cpus)
    assert len(mask) == len(cpus)
    assert bool(mask) == bool(cpus)
    if cpus:
        assert mask.first() == min(cpus)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", []),
        ("\n", []),
        ("0", [0]),
        ("0-3,8\n", [0, 1, 2, 3, 8]),
        ("0, 2,4", [0, 2, 4]),
        # Documentation/admin-guide/kernel-parameters.rst: 'range:used_size/group_size'.
        ("0-7:2/4", [0, 1, 4, 5]),
        ("0-9:1/3", [0, 3, 6, 9]),
        (str(MAX_CPU), [MAX_CPU]),
    ],
)
def test_list_forms_of_the_kernel(text: str, cpus: list[int]) -> None:
    assert list(CpuMask.parse_list(text)) == cpus


@pytest.mark.parametrize(
    "text",
    ["x", "3-1", "1-", "-1", "0-3:0/2", "0-3:3/2", "8192", "9" * 5000, "\u0661", "1;2", "\0"],
)
def test_bad_lists_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"CPU"):
        CpuMask.parse_list(text)


@pytest.mark.parametrize("text", ["", "x", "0x3", "-1", "1 2", "f" * 3000])
def test_bad_masks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mask"):
        CpuMask.parse_hex(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("3", [0, 1]), ("00000001,00000000", [32]), ("ff,ffffffff\n", list(range(40))), ("0", [])],
)
def test_hex_forms_of_the_kernel(text: str, cpus: list[int]) -> None:
    assert list(CpuMask.parse_hex(text)) == cpus


def test_a_cpu_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="8192"):
        CpuMask.of([MAX_CPU + 1])


def test_an_empty_mask_has_no_first_cpu() -> None:
    with pytest.raises(ValueError, match="empty"):
        CpuMask().first()


def test_a_mask_cannot_change() -> None:
    with pytest.raises(AttributeError):
        CpuMask.of([1]).bits = 3
