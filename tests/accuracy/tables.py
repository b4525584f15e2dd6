# SPDX-License-Identifier: GPL-2.0-only
"""Tables: a run's scores as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .cross import SWITCHES, Account, Comparison
from .kinds import KINDS, NAMES, QUIET
from .loop import LoopScore
from .score import Row, Verdict, confusion


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def score_table(rows: Sequence[Row]) -> str:
    what = {kind.name: kind.what for kind in KINDS} | {QUIET: "nothing"}
    head = ["kind", "injected", "steps", "left out", "judged", "right stage", "and culprit"]
    head += ["size error, median", "p95"]
    lines = [
        [
            row.kind,
            what[row.kind],
            str(row.injected),
            str(row.left_out),
            str(row.judged),
            percent(row.stage_right / row.judged if row.judged else None),
            percent(row.share if row.judged else None),
            percent(row.error_median),
            percent(row.error_p95),
        ]
        for row in rows
        if row.injected
    ]
    return table(head, lines)


def confusion_table(verdicts: Sequence[Verdict]) -> str:
    counts = confusion(verdicts)
    kinds = [name for name in (*NAMES, QUIET) if any(kind == name for kind, _ in counts)]
    said = sorted({name for _, name in counts})
    lines = [[kind, *(str(counts[kind, name] or "") for name in said)] for kind in kinds]
    return table(["injected \\ named", *said], lines)


def cross_table(found: Sequence[Comparison]) -> str:
    lines = [
        [each.what, each.witness, *_figures(each), percent(each.difference), str(each.samples)]
        for each in found
    ]
    return table(["figure", "witness", "agenttune", "witness says", "difference", "samples"], lines)


def _figures(found: Comparison) -> list[str]:
    if found.what == SWITCHES:
        return [f"{found.ours:.0f}", f"{found.theirs:.0f}"]
    return [f"{value / 1e3:.1f} us" for value in (found.ours, found.theirs)]


def loop_line(found: LoopScore) -> str:
    return (
        f"{found.right} of {found.calls} completions credited to the right step "
        f"({percent(found.right / found.calls)}); {found.missing} steps without a record, "
        f"{found.interleaved} shared the thread, {found.ambiguous} called ambiguous."
    )


def account_table(found: Sequence[Account]) -> str:
    head = ["kind", "steps", "runnable, not running", "schedstat", "off by, per step"]
    head += ["on the CPU", "thread's CPU clock", "off by, per step"]
    lines = [
        [
            each.kind,
            str(each.steps),
            f"{each.runnable_ns / 1e6:.2f} ms",
            f"{each.schedstat_ns / 1e6:.2f} ms",
            f"{each.runnable_off_ns / 1e3:+.1f} us",
            f"{each.on_cpu_ns / 1e6:.2f} ms",
            f"{each.thread_clock_ns / 1e6:.2f} ms",
            f"{each.on_cpu_off_ns / 1e3:+.1f} us",
        ]
        for each in found
    ]
    return table(head, lines)
