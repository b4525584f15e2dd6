# SPDX-License-Identifier: GPL-2.0-only
"""Counter tables: parsing is exact, for any CPU numbering."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.host.counters import (
    CounterRow,
    parse_rows,
    parse_softnet,
    read_interrupt_rows,
    read_softirqs,
    read_softnet,
)
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import SoftnetRow
from agenttune.host.tree import Tree

cpu_lists = st.lists(st.integers(0, 5000), min_size=1, max_size=20, unique=True).map(sorted)
counts_32bit = st.one_of(st.just(0), st.integers(0, 2**32 - 1))


def header(cpus: list[int]) -> bytes:
    return b" " * 12 + b"".join(b"CPU%-8d" % cpu for cpu in cpus) + b"\n"


@given(st.data(), cpu_lists)
def test_fixed_columns_give_back_every_count(data: st.DataObject, cpus: list[int]) -> None:
    counts = data.draw(st.lists(counts_32bit, min_size=len(cpus), max_size=len(cpus)))
    # show_interrupts(): '%*d:' then ' %10u' for each CPU.
    line = b" 24:" + b"".join(b" %10d" % count for count in counts) + b"  IO-APIC   5-edge  x\n"
    (row,) = parse_rows([header(cpus), line])
    expected = {cpu: count for cpu, count in zip(cpus, counts, strict=True) if count}
    assert row == CounterRow("24", expected, "IO-APIC   5-edge  x")


@given(st.data(), cpu_lists)
def test_free_columns_give_back_every_count(data: st.DataObject, cpus: list[int]) -> None:
    numbers = st.integers(0, 10**19 - 1)
    counts = data.draw(st.lists(numbers, min_size=len(cpus), max_size=len(cpus)))
    line = b"NET_RX: " + b" ".join(b"%d" % count for count in counts) + b"\n"
    (row,) = parse_rows([header(cpus), line])
    assert row.counts == {cpu: count for cpu, count in zip(cpus, counts, strict=True) if count}
    assert row.rest == ""


@given(st.binary(max_size=300), cpu_lists)
def test_garbage_never_crashes(line: bytes, cpus: list[int]) -> None:
    for row in parse_rows([header(cpus), line, b" 1:" + line]):
        assert set(row.counts) <= set(cpus)


def test_a_total_of_no_cpu_is_left_out() -> None:
    rows = parse_rows([header([0, 1]), b"ERR:          7\n", b"MIS:          0\n"])
    assert list(rows) == []


def test_a_column_that_is_no_number_is_left_out() -> None:
    line = b" 24:          1         1x  IO-APIC   5-edge      a\n"
    assert list(parse_rows([header([0, 1]), line])) == []


@pytest.mark.parametrize(
    "lines",
    [
        [header([0]), b" 24: " + b"9" * 5000 + b" chip\n"],
        [b"CPU" + b"9" * 5000 + b"\n", b" 24: 1 chip\n"],
    ],
)
def test_numbers_of_absurd_length_are_left_out(lines: list[bytes]) -> None:
    assert list(parse_rows(lines)) == []


@pytest.mark.parametrize(
    "tail",
    [
        # Two counts without a space between them.
        b" 123456789012345678901  chip 1-edge a\n",
        # A letter beside a zero, where no digit draws the eye.
        b"         x0          5  chip 1-edge a\n",
        b"          0         x0  chip 1-edge a\n",
    ],
)
def test_columns_that_only_look_right_are_left_out(tail: bytes) -> None:
    assert list(parse_rows([header([0, 1]), b" 24:" + tail])) == []


def test_two_numbers_in_one_column_do_not_crash() -> None:
    (row,) = parse_rows([header([0, 1]), b" 24:       1  2          5  chip\n"])
    assert row.counts == {0: 1, 1: 2}


def test_a_row_without_text_after_its_counts() -> None:
    (row,) = parse_rows([header([0, 4]), b"          HI:          0          9\n"])
    assert row == CounterRow("HI", {4: 9}, "")


def test_no_header_means_no_rows() -> None:
    assert list(parse_rows([b" 24:          1          2 chip\n"])) == []


@pytest.mark.parametrize(
    ("line", "row"),
    [
        # 11 columns, without the CPU.
        (
            b"0000000a 00000001 00000002 0 0 0 0 0 00000000 00000003 00000004\n",
            SoftnetRow(4, 10, 1, 2, 3, 4, None),
        ),
        # 13 columns; the last is the CPU.
        (
            b"0000000a 00000001 00000002 0 0 0 0 0 0 00000003 00000004 00000005 00000007\n",
            SoftnetRow(7, 10, 1, 2, 3, 4, 5),
        ),
        # 15 columns, as 6.12 has them; the CPU is still the 13th.
        (
            b"0000000a 00000001 00000002 0 0 0 0 0 0 3 4 5 00000007 00000005 00000000\n",
            SoftnetRow(7, 10, 1, 2, 3, 4, 5),
        ),
        # 9 columns: before received_rps.
        (b"ffffffff 00000001 00000002 0 0 0 0 0 0\n", SoftnetRow(4, 2**32 - 1, 1, 2)),
    ],
)
def test_softnet_forms_are_told_by_their_columns(line: bytes, row: SoftnetRow) -> None:
    assert parse_softnet([line], CpuMask.of([4])) == (row,)


def test_softnet_rows_skip_offline_cpus() -> None:
    line = b"00000001 0 0 0 0 0 0 0 0 0 0\n"
    rows = parse_softnet([line, line, line], CpuMask.parse_list("0,2,5"))
    assert [row.cpu for row in rows] == [0, 2, 5]


@pytest.mark.parametrize("line", [b"1 2 3\n", b"hello\n", b"\n"])
def test_another_softnet_form_is_unknown_not_guessed(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/softnet_stat").write_bytes(line)
    tree = Tree(tmp_path)
    assert read_softnet(tree, CpuMask.of([0])) is None
    assert any("softnet" in line for line in tree.unknown())


def test_more_softnet_rows_than_cpus_are_refused() -> None:
    line = b"00000001 0 0 0 0 0 0 0 0 0 0\n"
    with pytest.raises(ValueError, match="one more than"):
        parse_softnet([line, line], CpuMask.of([0]))


def test_absent_files_are_none_with_a_note(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert read_softirqs(tree) is None
    assert read_softnet(tree, CpuMask.of([0])) is None
    assert list(read_interrupt_rows(tree)) == []
    assert len(tree.unknown()) == 2
