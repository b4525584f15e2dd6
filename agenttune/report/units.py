# SPDX-License-Identifier: GPL-2.0-only
"""Units: figures as people read them, never with more digits than were measured."""

from __future__ import annotations

from collections.abc import Mapping

from agenttune.measure.histogram import Histogram

QUANTILES = (0.5, 0.95, 0.99, 0.999)


def duration(ns: float) -> str:
    """Nanoseconds with three significant digits and a unit: '950 ns', '12.3 us', '1.20 ms'."""
    for unit, scale in (("ns", 1.0), ("us", 1e3), ("ms", 1e6)):
        if ns < 999.5 * scale:
            return f"{_three_digits(ns / scale)} {unit}" if scale > 1 else f"{ns:.0f} ns"
    return f"{_three_digits(ns / 1e9)} s"


def percent(part: float, whole: float) -> str:
    """`part` of `whole` as a percentage with two decimals; '-' when the whole is nothing."""
    return f"{100 * part / whole:.2f}" if whole else "-"


def quantile_cells(histogram: Histogram, unit: str) -> list[str]:
    """p50, p95, p99, p999; 'few' where the histogram holds too few samples to say."""
    cells = []
    for q in QUANTILES:
        found = histogram.quantile(q)
        if found is None or not found.enough:
            cells.append("few")
        else:
            cells.append(duration(found.value) if unit == "ns" else f"{found.value:.0f}")
    return cells


def per_cpu(counts: Mapping[int, int], most: int = 4) -> str:
    """'cpu3:1200 cpu1:7', largest first; the rest summed."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"cpu{cpu}:{count}" for cpu, count in ranked[:most]]
    rest = sum(count for _, count in ranked[most:])
    return " ".join([*parts, f"+{rest} on {len(ranked) - most} more"] if rest else parts) or "0"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
