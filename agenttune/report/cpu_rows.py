# SPDX-License-Identifier: GPL-2.0-only
"""CPU rows: the part of a step's picture that shows who had which CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from agenttune.measure.trace import Bucket
from agenttune.report.names import printable
from agenttune.report.palette import IDLE, MIXED, PAINTS, Paint
from agenttune.report.scale import Scale
from agenttune.report.svg import INK, element, fitted, text, text_width, titled
from agenttune.report.tracks import Hop, Look, Slice, Track
from agenttune.report.units import duration

ROW_HEIGHT = 90
# Where each lane is in its row, and its height; arrows run in the gaps above.
_LANES = {Track.HARDIRQ: (10, 15), Track.SOFTIRQ: (36, 15), Track.TASK: (62, 22)}
_GAP = 6
_CORNER = 4.0
_TASKS = {
    Look.OWN: PAINTS[Bucket.RUN],
    Look.MIXED: MIXED,
    Look.HELD: PAINTS[Bucket.RUN_QUEUE],
    Look.IDLE: IDLE,
    Look.INTERRUPT: PAINTS[Bucket.CHAIN_THREAD],
}
_LABEL = 10.5
# What is shorter than a pixel is still there.
_LEAST_WIDTH = 2.0
_GROUND = "#f6f8fa"


def cpu_rows(
    slices: Sequence[Slice],
    flows: Sequence[Sequence[Hop]],
    cpus: Sequence[int],
    scale: Scale,
    top: float,
) -> Iterator[str]:
    """Each CPU's hardirqs, softirqs and tasks, with arrows along the flows; ROW_HEIGHT each."""
    tops = {cpu: top + index * ROW_HEIGHT for index, cpu in enumerate(cpus)}
    labels: list[str] = []
    for cpu, row_top in tops.items():
        yield from _row_frame(cpu, scale, row_top)
        for track in Track:
            lane = [each for each in slices if (each.cpu, each.track) == (cpu, track)]
            lane.sort(key=lambda each: (each.begin_ns, -each.end_ns))
            yield from _lane(lane, track, scale, row_top)
            labels += _labels(lane, track, scale, row_top)
    for flow in flows:
        for one, other in pairwise(flow):
            yield from _arrow(one, other, scale, tops)
    yield from labels


def _row_frame(cpu: int, scale: Scale, top: float) -> Iterator[str]:
    yield element(
        "rect", x=scale.left, y=top, width=scale.width, height=ROW_HEIGHT - 2, fill=_GROUND
    )
    yield text(16.0, top + 78, f"CPU {cpu}", 13, bold=True)
    for track, (offset, height) in _LANES.items():
        yield text(
            scale.left - 8, top + offset + height / 2 + 3.5, track, 10, anchor="end", fill="#59636e"
        )


def _lane(lane: Sequence[Slice], track: Track, scale: Scale, row_top: float) -> Iterator[str]:
    offset, height = _LANES[track]
    for each in lane:
        x, width = _extent(each, scale)
        tip = titled(f"{each.name}: {duration(each.end_ns - each.begin_ns)} on CPU {each.cpu}")
        yield element(
            "rect", tip, x=x, y=row_top + offset, width=width, height=height, rx=1.5,
            fill=_paint(each).fill, stroke="#ffffff", stroke_width=0.6,
        )  # fmt: skip


def _extent(each: Slice, scale: Scale) -> tuple[float, float]:
    x = scale.x(each.begin_ns)
    width = max(_LEAST_WIDTH, scale.x(each.end_ns) - x)
    return min(x, scale.left + scale.width - width), width


def _labels(lane: Sequence[Slice], track: Track, scale: Scale, row_top: float) -> Iterator[str]:
    """The names inside their slices, else beside them where nothing else is."""
    offset, height = _LANES[track]
    y = row_top + offset + height / 2 + 3.8
    for index, each in enumerate(lane):
        x, width = _extent(each, scale)
        free_until = scale.x(lane[index + 1].begin_ns if index + 1 < len(lane) else scale.end_ns)
        took = duration(each.end_ns - each.begin_ns)
        inside = _longest((f"{each.name} {took}", each.name), width - 8)
        beside = _longest((f"{each.name} {took}", each.name), free_until - x - width - 10)
        if inside and len(inside) >= len(beside):
            yield text(x + 5, y, inside, _LABEL, fill=_paint(each).ink)
        elif beside and each.look not in (Look.OWN, Look.MIXED):
            # Beside a turn of its own it would read as one more turn.
            yield text(x + width + 5, y, beside, _LABEL, halo=_GROUND)


def _longest(choices: Sequence[str], width: float) -> str:
    """The first that fits whole; else the first one cut, when enough stays to recognise it."""
    for words in choices:
        if text_width(words, _LABEL) <= width:
            return printable(words)
    cut = fitted(choices[0], width, _LABEL)
    return cut if len(cut) > 6 else ""


def _paint(each: Slice) -> Paint:
    if each.track is Track.HARDIRQ:
        return PAINTS[Bucket.CHAIN_HARDIRQ]
    if each.track is Track.SOFTIRQ:
        return PAINTS[Bucket.CHAIN_SOFTIRQ]
    return _TASKS[each.look]


def _arrow(one: Hop, other: Hop, scale: Scale, tops: dict[int, float]) -> Iterator[str]:
    """From where a frame ends, through the gap above the other's lane, to where that one begins."""
    offset, height = _LANES[one.track]
    x1, y1 = scale.x(one.end_ns), tops[one.cpu] + offset + height / 2
    x2, y2 = scale.x(other.ns), tops[other.cpu] + _LANES[other.track][0]
    gap_y = y2 - _GAP
    if x2 - x1 < 2 * _CORNER:
        path = f"M{x1:.1f} {y1:.1f}L{x2:.1f} {gap_y:.1f}V{y2:.1f}"
    else:
        turn = _CORNER if gap_y > y1 else -_CORNER
        path = (
            f"M{x1:.1f} {y1:.1f}V{gap_y - turn:.1f}q0 {turn:.1f} {_CORNER} {turn:.1f}"
            f"H{x2 - _CORNER:.1f}q{_CORNER} 0 {_CORNER} {_CORNER}V{y2:.1f}"
        )
    yield element("path", d=path, fill="none", stroke="#ffffff", stroke_width=4.5)
    yield element(
        "path", d=path, fill="none", stroke=INK, stroke_width=1.5, marker_end="url(#arrow)"
    )
    yield element("circle", cx=x1, cy=y1, r=2.6, fill=INK, stroke="#ffffff")
