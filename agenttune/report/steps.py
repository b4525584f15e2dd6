# SPDX-License-Identifier: GPL-2.0-only
"""A window of steps as text."""

from __future__ import annotations

from collections.abc import Iterator

from agenttune.measure.formula import KindTerms, Term, formula
from agenttune.measure.histogram import RELATIVE_ERROR, Histogram
from agenttune.measure.stages import Range, StageRow, Verdict, stages
from agenttune.measure.trace import StepCoverage, Trace
from agenttune.report.measurement import coverage_text
from agenttune.report.names import printable
from agenttune.report.table import table
from agenttune.report.units import duration, percent, quantile_cells

_QUANTILES = (
    f"quantiles to within {100 * RELATIVE_ERROR:.1f} %; 'few': p50 needs 20 samples, p95 200, "
    "p99 1000, p999 10000"
)
_VIRTUAL = (
    "These CPUs are virtual or emulated: times include what their host took. The ranges are of\n"
    "physical machines; read the verdicts as an order only.\n"
)
_HEADER = ("stage", "quiet", "tail", "measured", "samples", "p50", "p95", "p99", "p999", "verdict")


def steps_text(trace: Trace) -> str:
    """Steps by kind, the ten stages with verdicts and causes, the formula's terms, coverage."""
    rows = stages(trace)
    sections = (
        (f"steps ({_QUANTILES})", _kind_rows(trace) or "  no step ended in the window\n"),
        ("stages", _stage_rows(rows)),
        ("what the verdicts rest on, and likely causes", "".join(_reasons(rows))),
        ("where the steps' time went (share, mean per step)", _formula_rows(formula(trace))),
    )
    body = "".join(f"\n{title}\n{text}" for title, text in sections if text)
    return f"{_head(trace)}{body}\n{_coverage_text(trace.coverage)}"


def _head(trace: Trace) -> str:
    agents = ", ".join(trace.selectors) or "every thread that marks steps"
    first = (
        f"recorded {duration(trace.end_ns - trace.begin_ns)} on Linux {trace.kernel} with "
        f"{trace.engine}; agents: {agents}\n"
    )
    return first + (_VIRTUAL if trace.hypervisor else "")


def _kind_rows(trace: Trace) -> str:
    return table(
        ("kind", "steps", "p50", "p95", "p99", "p999", "max"),
        (
            (each.kind, each.count, *_quantiles(each.durations), duration(each.durations.maximum))
            for each in trace.kinds
            if each.count
        ),
    )


def _quantiles(histogram: Histogram) -> list[str]:
    return quantile_cells(histogram, "ns")


def _stage_rows(rows: tuple[StageRow, ...]) -> str:
    return table(_HEADER, (line for row in rows for line in _stage_lines(row)))


def _stage_lines(row: StageRow) -> Iterator[tuple[object, ...]]:
    """A line for each measured part; the later ones leave the stage's own columns empty."""
    ranges = (_range(row.quiet), _range(row.tail))
    if row.verdict is Verdict.NOT_OBSERVABLE:
        bound = "-" if row.bound_ns is None else f"<= {duration(row.bound_ns)}"
        yield (row.stage, *ranges, bound, *["-"] * 5, row.verdict)
        return
    for index, part in enumerate(row.parts):
        own = ("", "", "") if index else (row.stage, *ranges)
        cells = (part.leg, part.histogram.count, *_quantiles(part.histogram))
        yield (*own, *cells, "" if index else row.verdict)


def _range(limits: Range) -> str:
    if limits.low_ns is None:
        return f"< {_round(limits.high_ns or 0)}"
    if limits.high_ns is None:
        return f"{_round(limits.low_ns)}+"
    return f"{_round(limits.low_ns)} - {_round(limits.high_ns)}"


def _round(ns: int) -> str:
    """The note's own figures: no digits that it does not give."""
    for unit, scale in (("ms", 1_000_000), ("us", 1_000)):
        if ns >= scale:
            return f"{ns / scale:g} {unit}"
    return f"{ns / 1000:g} us" if ns >= 500 else f"{ns} ns"


def _reasons(rows: tuple[StageRow, ...]) -> Iterator[str]:
    for row in rows:
        here = f". Here: {printable(row.here)}" if row.here else ""
        yield f"  {row.stage}: {row.verdict}; {row.why}. Typical: {row.typical}{here}\n"


def _formula_rows(kinds: tuple[KindTerms, ...]) -> str:
    header = ["term", *(f"{each.kind} {what}" for each in kinds for what in ("%", "time"))]
    rows = (
        [term, *(cell for each in kinds for cell in _term_cells(each, index))]
        for index, term in enumerate(Term)
    )
    return table(header, rows) if kinds else ""


def _term_cells(kind: KindTerms, index: int) -> tuple[str, str]:
    ns = kind.terms_ns[index]
    mean = ns / kind.count
    return percent(ns, kind.total_ns), f"-{duration(-mean)}" if mean < 0 else duration(mean)


def _coverage_text(coverage: StepCoverage) -> str:
    ended = coverage.matched + coverage.ambiguous + coverage.unattributed
    return (
        f"completions: {ended} ended a wait: {coverage.matched} matched "
        f"({percent(coverage.matched, ended)} %), {coverage.ambiguous} ambiguous "
        f"({percent(coverage.ambiguous, ended)} %), {coverage.unattributed} unattributed; "
        f"{coverage.coalesced} coalesced\n"
        f"steps: {coverage.ended} ended, {coverage.kept} with their record, "
        f"{coverage.unfinished} still open, {coverage.stray_ends} ends without a begin, "
        f"{coverage.refused} refused (more than 8 open on a thread), "
        f"{coverage.bound_missed} sockets not bound, {coverage.lost_records} records lost\n"
        f"context switches: {coverage.switches} seen, {coverage.missed_switches} that the kernel "
        "made without telling its tracepoint\n" + coverage_text(coverage.probes)
    )
