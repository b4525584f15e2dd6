# SPDX-License-Identifier: GPL-2.0-only
"""Per-CPU counters: /proc/interrupts, /proc/softirqs, softnet_stat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import SoftnetRow
from agenttune.host.tree import Tree

INTERRUPTS = "/proc/interrupts"
_SOFTIRQS = "/proc/softirqs"
_SOFTNET = "/proc/net/softnet_stat"

# show_interrupts() prints ' %10u' for each online CPU (kernel/irq/proc.c, v6.12), and 32-bit
# counts never need more.
_WIDTH = 11
# Marks each digit of a count that is not zero.
_MARK_DIGITS = bytes.maketrans(b"123456789", b"x" * 9)


@dataclass(frozen=True, slots=True)
class CounterRow:
    """One row: its label ('24', 'LOC'), the CPUs with a non-zero count, and the text after."""

    label: str
    counts: Mapping[int, int]
    rest: str


def read_interrupt_rows(tree: Tree) -> Iterator[CounterRow]:
    """The rows of /proc/interrupts; none when there is no such file."""
    return parse_rows(tree.lines(INTERRUPTS))


def read_softirqs(tree: Tree) -> dict[str, Mapping[int, int]] | None:
    """Counts by softirq and CPU, zeros left out."""
    rows = {row.label: row.counts for row in parse_rows(tree.lines(_SOFTIRQS))}
    if not rows:
        tree.note("softirq counts", f"no readable {_SOFTIRQS}")
    return rows or None


def read_softnet(tree: Tree, online: CpuMask) -> tuple[SoftnetRow, ...] | None:
    """One row for each online CPU."""
    lines = list(tree.lines(_SOFTNET))
    if not lines:
        tree.note("softnet counters", f"no readable {_SOFTNET}")
        return None
    try:
        return parse_softnet(lines, online)
    except ValueError as error:
        tree.note("softnet counters", f"{_SOFTNET} is not as expected: {error}")
        return None


def parse_rows(lines: Iterable[bytes]) -> Iterator[CounterRow]:
    """Rows of a table headed 'CPU0 CPU1 …'; a row without one count for each CPU is left out.

    ERR and MIS are such rows: one total, of no CPU.
    """
    cpus: list[int] = []
    for line in lines:
        if not cpus:
            cpus = _header(line)
            continue
        label, colon, tail = line.partition(b":")
        row = _counts(tail, cpus) if colon else None
        if row:
            counts, rest = row
            yield CounterRow(label.decode(errors="replace").strip(), counts, rest)


def parse_softnet(lines: Iterable[bytes], online: CpuMask) -> tuple[SoftnetRow, ...]:
    """softnet_stat in any of its forms, told by the number of columns. Raises ValueError.

    9 columns; 11 with received_rps and flow_limit; 13 with backlog and CPU (commit 7d58e6555870);
    15 with the backlog's two queues (v6.12): softnet_seq_show() in net/core/net-procfs.c.
    """
    rows = [[int(word, 16) for word in line.split()] for line in lines]
    order = list(online)
    return tuple(_softnet_row(row, place, order) for place, row in enumerate(rows))


def _softnet_row(row: Sequence[int], place: int, order: Sequence[int]) -> SoftnetRow:
    if len(row) < 9:
        raise ValueError(f"row {place} has {len(row)} columns, fewer than 9")
    if len(row) < 13 and place >= len(order):
        raise ValueError(f"row {place} is one more than the {len(order)} online CPUs")
    return SoftnetRow(
        cpu=row[12] if len(row) >= 13 else order[place],
        processed=row[0],
        dropped=row[1],
        time_squeeze=row[2],
        received_rps=row[9] if len(row) >= 10 else None,
        flow_limit=row[10] if len(row) >= 11 else None,
        backlog=row[11] if len(row) >= 13 else None,
    )


def _header(line: bytes) -> list[int]:
    words = line.split()
    if words and all(w.startswith(b"CPU") and w[3:].isdigit() and len(w) < 9 for w in words):
        return [int(word[3:]) for word in words]
    return []


def _counts(tail: bytes, cpus: Sequence[int]) -> tuple[dict[int, int], str] | None:
    """The non-zero counts and the text after them, None when a CPU has no count."""
    end = _WIDTH * len(cpus)
    columns = tail[:end]
    if (
        len(columns) == end
        and columns[_WIDTH - 1 :: _WIDTH].isdigit()
        and columns[::_WIDTH].isspace()
        and not columns.translate(None, b" 0123456789")
        and tail[end : end + 1].isspace()
    ):
        counts = _fixed_columns(columns, cpus)
        if counts is not None:
            return counts, tail[end:].decode(errors="replace").strip()
    return _free_columns(tail, cpus)


def _fixed_columns(columns: bytes, cpus: Sequence[int]) -> dict[int, int] | None:
    """Most counts of a large host are zero: find the others without splitting the row."""
    counts = {}
    marks = columns.translate(_MARK_DIGITS)
    start = marks.find(b"x")
    while start >= 0:
        place = start // _WIDTH
        end = (place + 1) * _WIDTH
        digits = columns[start:end]
        if not digits.isdigit():
            return None
        counts[cpus[place]] = int(digits)
        start = marks.find(b"x", end)
    return counts


def _free_columns(tail: bytes, cpus: Sequence[int]) -> tuple[dict[int, int], str] | None:
    words = tail.split(None, len(cpus))
    numbers = words[: len(cpus)]
    if len(numbers) < len(cpus) or not all(_is_count(word) for word in numbers):
        return None
    rest = words[len(cpus)].decode(errors="replace").strip() if len(words) > len(cpus) else ""
    counts = (int(word) for word in numbers)
    return {cpu: count for cpu, count in zip(cpus, counts, strict=True) if count}, rest


def _is_count(word: bytes) -> bool:
    return word.isdigit() and len(word) < 20
