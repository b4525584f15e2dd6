# SPDX-License-Identifier: GPL-2.0-only
"""One interval of a probe as text."""

from __future__ import annotations

from agenttune.measure.histogram import (
    RELATIVE_ERROR,
    SAMPLES_BEYOND,
    SUB_BITS,
    SUB_BUCKETS,
    Histogram,
)
from agenttune.measure.probe_report import ProbeReport
from agenttune.report.measurement import coverage_text
from agenttune.report.table import table
from agenttune.report.units import duration, quantile_cells

_BAR = 40


def probe_text(seen: ProbeReport) -> str:
    """Quantiles, counts, a histogram for each key, notes, coverage."""
    sections = (
        (
            f"quantiles (to within {100 * RELATIVE_ERROR:.1f} %; 'few': fewer than "
            f"{SAMPLES_BEYOND} samples beyond it)",
            _quantile_rows(seen),
        ),
        ("counts", _count_rows(seen)),
        ("histograms", "".join(_histogram(seen))),
    )
    body = "".join(f"\n{title}\n{rows}" for title, rows in sections if rows)
    body = body or "\nnothing was sampled\n"
    notes = "".join(f"note: {note}\n" for note in seen.notes)
    return f"{_head(seen)}{body}\n{notes}{coverage_text(seen.coverage)}"


def _head(seen: ProbeReport) -> str:
    agents = f"; agents: {', '.join(seen.selectors)}" if seen.selectors else ""
    limit = f"; requests up to {seen.max_bytes} bytes" if seen.max_bytes is not None else ""
    return (
        f"probe {seen.probe}, interval {seen.interval}: {duration(seen.window_ns)} on Linux "
        f"{seen.kernel} with {seen.engine}{agents}{limit}\n"
    )


def _quantile_rows(seen: ProbeReport) -> str:
    return table(
        ("metric", "subject", "samples", "p50", "p95", "p99", "p999", "max"),
        (
            (
                each.metric,
                each.subject,
                each.histogram.count,
                *quantile_cells(each.histogram, each.unit),
                duration(each.histogram.maximum),
            )
            for each in seen.distributions
        ),
    )


def _count_rows(seen: ProbeReport) -> str:
    return table(
        ("what", "subject", "count"),
        ((each.what, each.subject, each.count) for each in seen.counts),
    )


def _histogram(seen: ProbeReport) -> list[str]:
    return [
        f"  {each.metric} {each.subject}\n{_bars(each.histogram)}" for each in seen.distributions
    ]


def _bars(histogram: Histogram) -> str:
    """One line for each power of two from the lowest to the highest that has samples."""
    octaves: dict[int, int] = {}
    for index, count in histogram.buckets.items():
        octave = _octave(index)
        octaves[octave] = octaves.get(octave, 0) + count
    most = max(octaves.values())
    rows = []
    for octave in range(min(octaves), max(octaves) + 1):
        count = octaves.get(octave, 0)
        low = duration(1 << octave) if octave else duration(0)
        bar = "#" * -(-count * _BAR // most)
        rows.append((f"from {low}", count, bar))
    return table(("", "samples", ""), rows, indent="    ").partition("\n")[2]


def _octave(index: int) -> int:
    """The power of two that a bucket lies in; 0 and 1 share the lowest."""
    if index < SUB_BUCKETS:
        return max(index.bit_length() - 1, 0)
    return index // SUB_BUCKETS - 1 + SUB_BITS
