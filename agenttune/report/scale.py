# SPDX-License-Identifier: GPL-2.0-only
"""Scale: nanoseconds to pixels, with ticks at round times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TICKS = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """[begin_ns, end_ns] drawn from `left` on, `width` pixels wide; `zero_ns` reads as 0."""

    begin_ns: int
    end_ns: int
    zero_ns: int
    left: float
    width: float

    def x(self, ns: int) -> float:
        """Where a time is; times outside are at the edge."""
        span_ns = max(1, self.end_ns - self.begin_ns)
        inside = min(max(ns, self.begin_ns), self.end_ns)
        return self.left + self.width * (inside - self.begin_ns) / span_ns

    def ticks(self) -> Iterator[tuple[int, str]]:
        """Round times with their labels, at most TICKS + 1."""
        step_ns = _round_step(max(1, self.end_ns - self.begin_ns))
        unit, unit_ns = _unit(max(abs(self.begin_ns - self.zero_ns), self.end_ns - self.zero_ns))
        digits = max(0, len(str(unit_ns)) - len(str(step_ns)))
        first = -(-(self.begin_ns - self.zero_ns) // step_ns)
        last = (self.end_ns - self.zero_ns) // step_ns
        for number in range(first, last + 1):
            ns = number * step_ns
            yield self.zero_ns + ns, f"{ns / unit_ns:.{digits}f} {unit}"


def _round_step(span_ns: int) -> int:
    """The smallest of 1, 2 and 5 times a power of ten that gives at most TICKS steps."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if span_ns <= TICKS * factor * power:
                return factor * power
        power *= 10


def _unit(most_ns: int) -> tuple[str, int]:
    if most_ns < 10_000:
        return "ns", 1
    if most_ns < 2_000_000:
        return "us", 1_000
    return ("ms", 1_000_000) if most_ns < 10_000_000_000 else ("s", 1_000_000_000)
