# SPDX-License-Identifier: GPL-2.0-only
"""Picture: one step drawn as SVG: its time, its CPUs, its chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from agenttune.measure.culprit import culprit, split_by_ready
from agenttune.measure.legs import Leg, chain_legs, runnable_since, wait_legs
from agenttune.measure.trace import Bucket, Step, Trace, Wait
from agenttune.policy.remedy import Remedy
from agenttune.report.cpu_rows import ROW_HEIGHT, cpu_rows
from agenttune.report.explanation import explain
from agenttune.report.names import step_name
from agenttune.report.palette import MIXED, PAINTS, Paint, hatchings
from agenttune.report.scale import Scale
from agenttune.report.svg import INK, document, element, fitted, text, text_width, titled, wrapped
from agenttune.report.tracks import Hop, Slice, Track, step_flows, step_slices, wait_hops
from agenttune.report.units import duration

WIDTH = 1000.0
_LEFT, _RIGHT, _EDGE = 118.0, 24.0, 16.0
_QUIET = "#59636e"
_BAR_HEIGHT = 42
# The chain gets a panel of its own when it takes less of the step than this.
_ZOOM_BELOW = 0.2


def picture_svg(step: Step, trace: Trace) -> str:
    """The step as one SVG document. Deterministic; the same wherever the record is read."""
    scale = Scale(step.begin_ns, step.end_ns, step.begin_ns, _LEFT, WIDTH - _LEFT - _RIGHT)
    slices = step_slices(step, trace)
    flows = step_flows(step)
    parts, top = _head(step, trace)
    panels: tuple[Callable[[float], Drawn], ...] = (
        lambda y: _time_panel(step, scale, y),
        lambda y: _cpu_panel(slices, flows, scale, y, _cpu_title(step)),
        lambda y: _zoom_panel(step, trace, slices, y),
        lambda y: _legend(step, y),
    )
    for draw in panels:
        drawn, top = draw(top)
        parts += drawn
    return document(WIDTH, top + 4, f"{step_name(step)}: where its time went", parts)


Drawn = tuple[list[str], float]


def _head(step: Step, trace: Trace) -> Drawn:
    """Definitions, title and sentence; and where the next panel begins."""
    arrow = element(
        "marker",
        element("path", d="M0 0L8 4L0 8Z", fill=INK),
        id="arrow", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=6.5, markerHeight=6.5,
        orient="auto",
    )  # fmt: skip
    parts = [element("defs", "".join((arrow, *hatchings())))]
    title = f"{step_name(step)} took {duration(step.duration_ns)}"
    parts.append(text(_EDGE, 32.0, fitted(title, WIDTH - 2 * _EDGE, 20), 18, bold=True))
    sentence = explain(step, trace, Remedy("")).sentence.removeprefix(title).lstrip(",: ")
    lines = wrapped(sentence, WIDTH - 2 * _EDGE, 13)
    parts += [
        text(_EDGE, 54.0 + 18 * index, line, 13, fill=_QUIET) for index, line in enumerate(lines)
    ]
    return parts, 54.0 + 18 * len(lines) + 6


def _time_panel(step: Step, scale: Scale, top: float) -> Drawn:
    """The step's time from left to right, each stretch in its bucket's colour."""
    parts = [text(_EDGE, top + 14, "what the step was doing", 12, bold=True)]
    bar_top = top + 24
    for leg in _stretches(step):
        x, end = scale.x(leg.begin_ns), scale.x(leg.end_ns)
        width = max(end - x, 0.5)
        paint, name = _look(leg.bucket, step)
        words = f"{name} {duration(leg.ns)}"
        parts.append(
            element(
                "rect", titled(words), x=x, y=bar_top, width=width, height=_BAR_HEIGHT,
                fill=paint.fill,
            )
        )  # fmt: skip
        if width > 34:
            middle = (x + end) / 2
            for line, label in enumerate((name, duration(leg.ns))):
                shown = label if text_width(label, 11) < width - 2 else ""
                y = bar_top + 18 + 15 * line
                parts.append(text(middle, y, shown, 11, anchor="middle", fill=paint.ink))
    parts.append(
        element(
            "rect", x=scale.left, y=bar_top, width=scale.width, height=_BAR_HEIGHT, fill="none",
            stroke=INK, stroke_width=0.8,
        )
    )  # fmt: skip
    return [*parts, *_axis(scale, bar_top + _BAR_HEIGHT)], bar_top + _BAR_HEIGHT + 36


def _look(bucket: Bucket, step: Step) -> tuple[Paint, str]:
    if bucket is Bucket.RUN and _is_mixed(step):
        return MIXED, "run, waits"
    return PAINTS[bucket], bucket


def _stretches(step: Step) -> Iterator[Leg]:
    """The step as consecutive legs; between kept waits it ran, or waited too briefly to be kept."""
    if step.ready and split_by_ready(step):
        yield from chain_legs(step.ready.chain, step.begin_ns, step.ready.ready_ns)
        yield Leg(Bucket.EVENT_LOOP, step.ready.ready_ns, step.end_ns)
        return
    at_ns = step.begin_ns
    for wait in sorted(step.waits, key=lambda each: each.out_ns):
        for leg in wait_legs(wait):
            begin_ns, end_ns = max(leg.begin_ns, at_ns), min(leg.end_ns, step.end_ns)
            if begin_ns >= end_ns:
                continue
            if begin_ns > at_ns:
                yield Leg(Bucket.RUN, at_ns, begin_ns)
            yield Leg(leg.bucket, begin_ns, end_ns)
            at_ns = end_ns
    if at_ns < step.end_ns:
        yield Leg(Bucket.RUN, at_ns, step.end_ns)


def _axis(scale: Scale, top: float) -> Iterator[str]:
    for ns, label in scale.ticks():
        x = scale.x(ns)
        yield element("path", d=f"M{x:.1f} {top:.1f}v5", stroke=_QUIET)
        beyond = x + text_width(label, 10.5) / 2 > WIDTH - 8
        anchor = "end" if beyond else "middle"
        yield text(x, top + 17, label, 10.5, anchor=anchor, fill=_QUIET)


def _cpu_panel(
    slices: Sequence[Slice], hops: Sequence[Sequence[Hop]], scale: Scale, top: float, title: str
) -> Drawn:
    inside = [s for s in slices if s.end_ns > scale.begin_ns and s.begin_ns < scale.end_ns]
    flows = [
        [hop for hop in flow if scale.begin_ns <= hop.ns <= scale.end_ns]
        for flow in hops
    ]  # fmt: skip
    cpus = sorted({each.cpu for each in inside} | {hop.cpu for flow in flows for hop in flow})
    if not cpus:
        return [], top
    parts = [text(_EDGE, top + 14, title, 12, bold=True)]
    rows_top = top + 24
    bottom = rows_top + ROW_HEIGHT * len(cpus)
    parts += cpu_rows(inside, flows, cpus, scale, rows_top)
    return [*parts, *_axis(scale, bottom)], bottom + 36


def _cpu_title(step: Step) -> str:
    return "on which CPU" + (", with other steps of its thread" if step.interleaved else "")


def _zoom_panel(step: Step, trace: Trace, slices: Sequence[Slice], top: float) -> Drawn:
    """The chain of the culprit's wait, or of the longest wait that has one, when it is brief."""
    flow = _zoomed_flow(step, trace, slices)
    if not flow:
        return [], top
    span_ns = flow[-1].end_ns - flow[0].ns
    if span_ns > _ZOOM_BELOW * step.duration_ns:
        return [], top
    margin_ns = max(span_ns // 3, 1_000)
    begin_ns, end_ns = flow[0].ns - margin_ns // 2, min(flow[-1].end_ns + margin_ns, step.end_ns)
    scale = Scale(begin_ns, end_ns, step.begin_ns, _LEFT, WIDTH - _LEFT - _RIGHT)
    deed = "made its socket ready" if split_by_ready(step) else "woke it"
    title = f"the chain that {deed}, {duration(end_ns - begin_ns)} of the same time enlarged"
    return _cpu_panel(slices, [flow], scale, top, title)


def _zoomed_flow(step: Step, trace: Trace, slices: Sequence[Slice]) -> tuple[Hop, ...]:
    """Up to where the thread is runnable; its switch-in may be far away."""
    if split_by_ready(step):
        return step_flows(step)[0]
    wait = _chained_wait(step, trace)
    if wait is None:
        return ()
    flow, runnable_ns = wait_hops(wait)[:-1], runnable_since(wait)
    if any(each.begin_ns == runnable_ns and each.track is Track.TASK for each in slices):
        flow = (*flow, Hop(Track.TASK, wait.queue_cpu, runnable_ns, runnable_ns))
    return flow


def _chained_wait(step: Step, trace: Trace) -> Wait | None:
    blamed = culprit(step, trace).wait
    longest = sorted(step.waits, key=lambda wait: wait.out_ns - wait.in_ns)
    for wait in (blamed, *longest):
        if wait and len(wait_hops(wait)) > 1:
            return wait
    return None


def _legend(step: Step, top: float) -> Drawn:
    """Every bucket that holds time, with all of it: also what the drawing cannot place."""
    whole_ns = step.duration_ns or 1
    entries = [
        (PAINTS[bucket], f"{bucket}: {duration(ns)} ({100 * ns / whole_ns:.1f} %)")
        for bucket, ns in zip(Bucket, step.buckets_ns, strict=True)
        if ns
    ]
    if _is_mixed(step):
        entries.append((MIXED, "run, waits: it ran, or waited briefly"))
    columns, cell = 3, (WIDTH - 2 * _EDGE) / 3
    parts = [text(_EDGE, top + 14, "where all of its time went", 12, bold=True)]
    for index, (paint, label) in enumerate(entries):
        row, column = divmod(index, columns)
        x, y = _EDGE + column * cell, top + 26 + 22 * row
        parts.append(
            element(
                "rect", x=x, y=y, width=18, height=14, rx=2, fill=paint.fill,
                stroke=_QUIET, stroke_width=0.6,
            )
        )  # fmt: skip
        parts.append(text(x + 26, y + 11, fitted(label, cell - 34, 12), 12))
    bottom = top + 26 + 22 * -(-len(entries) // columns)
    for note in _notes(step):
        bottom += 16
        parts.append(text(_EDGE, bottom, note, 11, fill=_QUIET))
    return parts, bottom + 12


def _is_mixed(step: Step) -> bool:
    """Between the kept waits lie those that were not kept, nobody knows where."""
    return step.nr_waits > len(step.waits) and not split_by_ready(step)


def _notes(step: Step) -> Iterator[str]:
    yield f"not accounted for: {step.residual_ns} ns"
    stolen_ns = step.ns(Bucket.STOLEN_HARDIRQ) + step.ns(Bucket.STOLEN_SOFTIRQ)
    if stolen_ns:
        yield f"stolen time ({duration(stolen_ns)}) lies somewhere in what it ran"
    if _is_mixed(step):
        others = step.nr_waits - len(step.waits)
        yield f"{others} shorter waits lie somewhere within 'run, waits': only the longest are kept"
