# SPDX-License-Identifier: GPL-2.0-only
"""The figures of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agenttune.evaluate.comparison import Comparison
from agenttune.evaluate.result import ArmResult, Evaluation
from agenttune.measure.histogram import SUB_BUCKETS, Histogram, bucket_bounds, merge
from agenttune.measure.trace import Bucket
from agenttune.report.charts import (
    SMALL,
    WIDTH,
    Scale,
    Series,
    colour,
    legend_of,
    line_chart,
    log_ticks,
    rule,
    svg,
    tick,
    words,
)
from agenttune.report.evaluation import ratio_cell
from agenttune.report.palette import PAINTS, hatchings
from agenttune.report.svg import element, fitted, titled
from agenttune.report.units import duration

_NAME_WIDTH = 92
# A histogram's buckets are drawn four to an octave: sixteen would show noise.
_GROUP = SUB_BUCKETS // 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its caption; `key` names it for tests and links."""

    key: str
    title: str
    caption: str
    drawing: str


def ratios(done: Evaluation) -> Picture:
    arms = [arm for arm in done.ran if any(each.low for each in arm.comparisons)]
    found = [each for arm in arms for each in arm.comparisons if each.low is not None]
    values = [value for each in found for value in (each.low, each.high) if value]
    low, high = min([*values, 0.8]), max([*(min(value, 1e3) for value in values), 1.25])
    x = Scale(low, high, 52, WIDTH - 118)
    parts, y = [], 14.0
    for arm in arms:
        parts.append(words(4, y, fitted(arm.name, 200, 11), size=11))
        for each in arm.comparisons:
            if each.low is not None and each.high is not None and each.ratio is not None:
                y += 15
                parts += _ratio_row(each, x, y)
        y += 20
    axis = [rule(x(v), 4, x(v), y, "grid") for v in log_ticks(x.low, x.high)]
    labels = [tick(x(v), y + 12, f"{v:g}") for v in log_ticks(x.low, x.high)]
    one = rule(x(1), 4, x(1), y, "one")
    drawing = svg(y + 18, "ratios of quantiles with intervals", [*axis, one, *parts, *labels])
    return Picture(
        "ratios",
        "Time relative to the baseline",
        f"Left of 1 is faster. Bars are {100 * done.level:g} % intervals over {done.rounds} "
        "rounds; one that covers 1 is no evidence of a difference.",
        drawing if found else "",
    )


def _ratio_row(found: Comparison, x: Scale, y: float) -> Iterator[str]:
    assert found.low is not None and found.high is not None and found.ratio is not None
    clear = found.low > 1 or found.high < 1
    style = colour(1 if found.high < 1 else 3 if found.low > 1 else 7)
    yield words(46, y, found.quantile, "end")
    line = {"stroke": style, "stroke_width": 3 if clear else 2}
    yield element("line", "", x1=x(found.low), y1=y - 3, x2=x(found.high), y2=y - 3, **line)
    yield element("circle", cx=x(found.ratio), cy=y - 3, r=4, fill=style)
    yield words(WIDTH - 4, y, ratio_cell(found), "end")


def latencies(done: Evaluation) -> Picture:
    whole = {arm.name: merge(b.durations for b in done.blocks_of(arm.name)) for arm in done.ran}
    series = _series(done, whole, _exceedance)
    drawing = line_chart(
        series,
        label="share of steps that took longer, by arm",
        x_label=_time,
        y_label=_share,
        y_title="steps slower than this",
        log_y=True,
    )
    count = sum(each.count for each in whole.values())
    caption = f"All blocks of an arm together, {count} steps. Lower and further left is better."
    return Picture("latency", "Step latency", caption, drawing)


def histogram(
    done: Evaluation, key: str, title: str, caption: str, pick: Callable[[str], Histogram]
) -> Picture:
    whole = {arm.name: pick(arm.name) for arm in done.ran}
    counts = ", ".join(f"{name} {each.count}" for name, each in whole.items())
    series = _series(done, whole, _shares)
    drawing = ""
    if series:
        drawing = line_chart(
            series,
            label=title,
            x_label=_time,
            y_label=lambda value: f"{value:g}",
            y_title="% of samples",
        )
    return Picture(key, title, f"{caption} Samples: {counts}.", drawing)


def attributed(done: Evaluation, name: str) -> Callable[[str], Histogram]:
    """The histogram `name` of the kernel's side, of all blocks of an arm."""
    return lambda arm: merge(
        getattr(block.attribution, name) for block in done.blocks_of(arm) if block.attribution
    )


def slowest(done: Evaluation) -> Picture:
    """A bar per arm: where the time of its slowest steps went."""
    rows = [(arm, *_slow(done, arm)) for arm in done.ran]
    rows = [row for row in rows if row[1]]
    parts = [element("defs", "".join(hatchings()))]
    used: set[Bucket] = set()
    for place, (arm, steps, buckets) in enumerate(rows):
        y, whole = 8 + 34.0 * place, sum(buckets) or 1
        said = f"{arm.name}: {steps} steps, mean {duration(whole / steps)}"
        parts.append(words(4, y + 8, said))
        x = 4.0
        for bucket, ns in zip(Bucket, buckets, strict=True):
            wide = ns / whole * (WIDTH - 8)
            if wide >= 0.5:
                used.add(bucket)
                tip = titled(f"{bucket}: {100 * ns / whole:.1f} %")
                parts.append(
                    element(
                        "rect",
                        tip,
                        x=x,
                        y=y + 12,
                        width=wide,
                        height=16,
                        fill=PAINTS[bucket].fill,
                        class_="part",
                    )
                )
            x += wide
    top = 14 + 34.0 * len(rows)
    legend, lines = legend_of(
        [(str(b), element("rect", width=18, height=10, fill=PAINTS[b].fill, class_="part"))
         for b in Bucket if b in used],
        top,
    )  # fmt: skip
    drawing = svg(top + 16 * lines + 4, "where the slowest steps' time went", [*parts, *legend])
    return Picture(
        "slowest",
        "Where the time of the slowest 1 % of steps went",
        "Each bar is all of the time of these steps, by the kernel's account.",
        drawing if rows else "",
    )


def migrations(done: Evaluation) -> Picture:
    rows = [(arm.name, _migrations_a_second(done, arm.name)) for arm in done.ran]
    known = [(name, rate) for name, rate in rows if rate is not None]
    high = max([rate for _, rate in known], default=0.0) or 1.0
    parts = []
    for place, (name, rate) in enumerate(known):
        y = 6 + 20.0 * place
        parts.append(words(_NAME_WIDTH - 4, y + 11, fitted(name, _NAME_WIDTH - 8, SMALL), "end"))
        wide = rate / high * (WIDTH - _NAME_WIDTH - 60)
        parts.append(element("rect", x=_NAME_WIDTH, y=y, width=wide, height=14, fill=colour(place)))
        parts.append(words(_NAME_WIDTH + wide + 4, y + 11, f"{rate:.3g}"))
    return Picture(
        "migrations",
        "CPU migrations of the agent's threads, per second",
        "By the scheduler's own count where the kernel gives it, else those inside steps.",
        svg(10 + 20 * len(known), "migrations per second by arm", parts) if known else "",
    )


def _migrations_a_second(done: Evaluation, arm: str) -> float | None:
    count, seconds = 0, 0.0
    for block in done.blocks_of(arm):
        found = block.disturbances.migrations
        if found is None:
            found = block.attribution.migrations if block.attribution else None
        if found is None:
            return None
        count, seconds = count + found, seconds + block.seconds
    return count / seconds if seconds else None


def _slow(done: Evaluation, arm: ArmResult) -> tuple[int, list[int]]:
    found = [block.attribution for block in done.blocks_of(arm.name) if block.attribution]
    columns = zip(*(each.slow_buckets_ns for each in found), strict=True)
    return sum(each.slow_steps for each in found), [sum(column) for column in columns]


def _series(
    done: Evaluation,
    whole: dict[str, Histogram],
    points: Callable[[Histogram], Iterable[tuple[float, float]]],
) -> Sequence[Series]:
    """Styles count all arms, so that an arm looks the same in every figure."""
    return [
        Series(arm.name, style, tuple(points(whole[arm.name])))
        for style, arm in enumerate(done.ran)
        if whole[arm.name].count
    ]


def _exceedance(found: Histogram) -> Iterator[tuple[float, float]]:
    """(ns, share of samples above); without the last point, whose share would be 0."""
    left = count = found.count
    for index in sorted(found.buckets):
        low, high = bucket_bounds(index)
        yield max(low, 1), left / count
        left -= found.buckets[index]
        if left:
            yield (high or low) + 1, left / count


def _shares(found: Histogram) -> Iterator[tuple[float, float]]:
    """(ns, % of samples) of groups of buckets, as steps."""
    groups: dict[int, int] = {}
    for index, count in found.buckets.items():
        groups[index // _GROUP] = groups.get(index // _GROUP, 0) + count
    for group in range(min(groups), max(groups) + 1):
        low = max(bucket_bounds(group * _GROUP)[0], 1)
        high = bucket_bounds(min((group + 1) * _GROUP, 511))[0]
        share = 100 * groups.get(group, 0) / found.count
        yield low, share
        yield max(high, low), share


def _time(ns: float) -> str:
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= scale * 0.999:
            return f"{round(ns / scale, 3):g} {unit}"
    return f"{ns:g} ns"


def _share(value: float) -> str:
    digits = max(0, -math.floor(math.log10(value * 100) + 1e-9))
    return f"{100 * value:.{digits}f} %"
