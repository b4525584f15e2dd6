# SPDX-License-Identifier: GPL-2.0-only
"""Charts: plain SVG for a page; sized for a phone, so that wider screens only enlarge them.

Colours are CSS variables (report/page.py), which differ in light and dark; lines differ by dash
too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agenttune.report.svg import element, fitted, text, text_width

WIDTH = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 8, 30
_HEIGHT = 230
SMALL = 10
COLOURS = 8
_DASHES = ("", "6 3", "2 2", "8 3 2 3")

Label = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `style` chooses its colour and dash, the same for the same arm in every figure."""

    name: str
    style: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def colour(style: int) -> str:
    return f"var(--c{style % COLOURS})"


def svg(height: float, label: str, parts: Iterable[str]) -> str:
    return element(
        "svg",
        "".join(parts),
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_label=label,
    )


def words(x: float, y: float, said: str, anchor: str = "start", size: float = SMALL) -> str:
    return text(x, y, said, size, anchor=anchor, fill="currentColor")


def tick(x: float, y: float, said: str) -> str:
    """A label centred below `x`, or as near as the figure's edges let it be."""
    half = text_width(said, SMALL) / 2
    return words(round(min(max(x, half), WIDTH - half), 1), y, said, "middle")


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: Label,
    y_label: Label,
    y_title: str,
    log_y: bool = False,
) -> str:
    """Lines over a logarithmic x axis, with a legend below."""
    points = [point for each in series for point in each.points]
    x = Scale(*_range([p[0] for p in points], log=True), _LEFT, WIDTH - _RIGHT)
    y = Scale(*_range([p[1] for p in points], log=log_y), _HEIGHT - _BOTTOM, _TOP + 12, log_y)
    legend, rows = legend_of([(each.name, _sample(each)) for each in series], _HEIGHT + 4)
    body = [
        words(4, _TOP + 4, y_title),
        *_grid(x, y, x_label, y_label),
        *(_path(each, x, y) for each in series),
        *legend,
    ]
    return svg(_HEIGHT + 8 + 16 * rows, label, body)


def legend_of(entries: Sequence[tuple[str, str]], top: float) -> tuple[list[str], int]:
    """Names with a sample each (drawn in 18 x 10 at 0, 0), and how many rows they take."""
    parts, x, row = [], 6.0, 0
    for name, sample in entries:
        shown = fitted(name, 150, SMALL)
        wide = 28 + 6.2 * len(shown)
        if x + wide > WIDTH and x > 6:
            x, row = 6.0, row + 1
        y = top + 16 * row
        parts.append(element("g", sample, transform=f"translate({x:.0f} {y:.0f})"))
        parts.append(words(x + 22, y + 9, shown))
        x += wide
    return parts, row + 1


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them where there are few; of many every second one."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) < 2.2 else (1,)
    found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [value for value in found if low * 0.999 <= value <= high * 1.001]
    return inside[:: 1 + len(inside) // 8]


def even_ticks(high: float) -> list[float]:
    """From 0 on in steps of 1, 2 or 5 times a power of ten, three to seven of them."""
    rough = high / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * 0.999)
    return [step * number for number in range(math.floor(high / step) + 1)]


def _range(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    if log:
        low, high = min(values), max(values)
        return low, max(high, low * 1.5)
    return 0.0, max(*values, 1e-9) * 1.05


def _grid(x: Scale, y: Scale, x_label: Label, y_label: Label) -> Iterable[str]:
    for value in log_ticks(x.low, x.high):
        at = x(value)
        yield rule(at, y.start, at, y.end)
        yield tick(at, y.start + 14, x_label(value))
    ticks = log_ticks(y.low, y.high) if y.log else even_ticks(y.high)
    for value in ticks:
        at = y(value)
        yield rule(x.start, at, x.end, at)
        yield words(x.start - 4, at + 3, y_label(value), "end")


def rule(x1: float, y1: float, x2: float, y2: float, css: str = "grid") -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def _path(series: Series, x: Scale, y: Scale) -> str:
    places = " ".join(f"{x(px)},{y(py)}" for px, py in series.points)
    return element("polyline", "", points=places, **_stroke(series.style))


def _sample(series: Series) -> str:
    return element("line", "", x1=0, y1=6, x2=18, y2=6, **_stroke(series.style))


def _stroke(style: int) -> dict[str, object]:
    # The second round of colours has other dashes than the first.
    dash = _DASHES[(style + style // COLOURS) % len(_DASHES)]
    said: dict[str, object] = {"fill": "none", "stroke": colour(style), "stroke_width": 2}
    return said | ({"stroke_dasharray": dash} if dash else {})
