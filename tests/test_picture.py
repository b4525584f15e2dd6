# SPDX-License-Identifier: GPL-2.0-only
"""The picture of a step: well-formed, inside its frame, true to the step."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import traces
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import BEGIN_NS, MS, US, chain, holder, step, trace, wait

from agenttune.measure.trace import Bucket, Ready, Step
from agenttune.report.palette import PAINTS
from agenttune.report.picture import picture_svg
from agenttune.report.scale import TICKS, Scale
from agenttune.report.svg import fitted, text_width, wrapped

SVG = "{http://www.w3.org/2000/svg}"


def chained() -> Step:
    return step(
        12 * MS,
        [
            wait(
                1 * MS,
                10 * MS,
                waking_ns=2 * MS,
                chain=chain(
                    irq_cpu=1,
                    irq_ns=BEGIN_NS + 1_900 * US,
                    raise_ns=BEGIN_NS + 1_905 * US,
                    entry_ns=BEGIN_NS + 1_910 * US,
                    cpu=1,
                ),
                waker_cpu=1,
                holder=holder("hog", 8 * MS),
            )
        ],
    )


def drawn(made: Step) -> ElementTree.Element:
    return ElementTree.fromstring(picture_svg(made, trace([made])))


def texts(root: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def check_inside(root: ElementTree.Element) -> None:
    """Every label and every box lies inside the view box, by the widths that letters can have."""
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    for each in root.iter(f"{SVG}text"):
        size, x, y = (float(each.attrib[name]) for name in ("font-size", "x", "y"))
        long = text_width(each.text or "", size, bold="font-weight" in each.attrib)
        left = x - {"start": 0, "middle": long / 2, "end": long}[each.attrib["text-anchor"]]
        assert left >= 0, f"{each.text!r} begins outside"
        assert left + long <= width, f"{each.text!r} ends outside"
        assert size <= y <= height, f"{each.text!r} is above or below"
    definitions = {id(each) for each in next(root.iter(f"{SVG}defs")).iter()}
    for each in root.iter(f"{SVG}rect"):
        if id(each) not in definitions:
            box = {name: float(each.get(name, 0)) for name in ("x", "y", "width", "height")}
            assert box["x"] >= 0
            assert box["y"] >= 0
            assert box["x"] + box["width"] <= width + 0.1
            assert box["y"] + box["height"] <= height + 0.1


@settings(max_examples=60, deadline=None)
@given(traces.steps())
def test_any_step_can_be_drawn(made: Step) -> None:
    check_inside(drawn(made))


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=23), st.text(max_size=15))
def test_names_may_hold_anything(name: str, comm: str) -> None:
    made = replace(chained(), name=name, comm=comm)
    check_inside(drawn(made))


def test_every_fill_and_marker_is_defined() -> None:
    root = drawn(chained())
    made = {each.attrib["id"] for each in root.iter() if "id" in each.attrib}
    used = set(re.findall(r"url\(#([^)]+)\)", picture_svg(chained(), trace())))
    assert used
    assert used <= made


def test_the_bar_is_the_step_in_order_of_time() -> None:
    root = drawn(chained())
    tips = [each.text or "" for each in root.iter(f"{SVG}title")]
    bar = [tip for tip in tips if re.match("|".join(Bucket), tip) and "on CPU" not in tip]
    assert bar == [
        "run 1.00 ms",
        "external 900 us",
        "hardirq 5.00 us",
        "softirq pending 5.00 us",
        "softirq 90.0 us",
        "run queue 8.00 ms",
        "run 2.00 ms",
    ]


def test_the_bars_widths_are_the_times() -> None:
    made = step(10 * MS, [wait(2 * MS, 7 * MS, holder=holder("hog", 5 * MS))])
    widths = {
        title.text: float(each.attrib["width"])
        for each in drawn(made).iter(f"{SVG}rect")
        if (title := each.find(f"{SVG}title")) is not None and each.attrib["height"] == "42"
    }
    assert widths["preempted 5.00 ms"] == pytest.approx(858 / 2, abs=0.1)
    assert widths["run 2.00 ms"] == pytest.approx(858 / 5, abs=0.1)


def test_both_cpus_the_chain_and_its_enlargement_are_there() -> None:
    found = texts(drawn(chained()))
    assert found.count("CPU 1") == 2
    assert found.count("CPU 3") == 2
    assert any("enlarged" in each for each in found)
    assert sum(each.startswith("NET_RX raised by vector 45") for each in found) == 2


def test_a_long_chain_is_not_enlarged() -> None:
    made = step(
        12 * MS,
        [wait(MS, 10 * MS, waking_ns=9 * MS, chain=chain(irq_ns=BEGIN_NS + 2 * MS))],
    )
    assert not any("enlarged" in each for each in texts(drawn(made)))


def test_the_legend_holds_all_time() -> None:
    found = "\n".join(texts(drawn(chained())))
    assert "run: 3.00 ms (25.0 %)" in found
    assert "run queue: 8.00 ms (66.7 %)" in found
    assert "not accounted for: 0 ns" in found


def test_waits_that_were_not_kept_are_not_drawn_as_running() -> None:
    root = drawn(replace(chained(), nr_waits=4))
    tips = [each.text or "" for each in root.iter(f"{SVG}title")]
    assert "run, waits 1.00 ms" in tips
    assert "run 1.00 ms" not in tips
    assert any("3 shorter waits" in each for each in texts(root))


def test_a_step_split_by_its_socket_shows_its_own_chain() -> None:
    ready = Ready(9, BEGIN_NS + 4 * MS, 1, chain(irq_cpu=2, irq_ns=BEGIN_NS + 3 * MS))
    root = drawn(replace(chained(), interleaved=True, ready=ready))
    tips = [each.text or "" for each in root.iter(f"{SVG}title")]
    assert "external 3.00 ms" in tips
    assert "event loop 8.00 ms" in tips
    found = texts(root)
    assert "CPU 2" in found
    assert "CPU 1" not in found, "the interrupt of another step is drawn"
    assert "on which CPU, with other steps of its thread" in found


def test_no_two_buckets_look_alike() -> None:
    assert set(PAINTS) == set(Bucket)
    looks = [(paint.colour, paint.hatch) for paint in PAINTS.values()]
    assert len(set(looks)) == len(looks)


@given(
    st.integers(0, 10**12), st.integers(0, 10**11), st.integers(-(10**9), 10**9)
)  # fmt: skip
def test_ticks_are_few_round_and_inside(begin: int, span: int, zero: int) -> None:
    scale = Scale(begin, begin + span, begin - zero, 0, 100)
    ticks = list(scale.ticks())
    assert len(ticks) <= TICKS + 1
    assert all(begin <= ns <= begin + span for ns, _ in ticks)
    labels = [label for _, label in ticks]
    assert len(set(labels)) == len(labels), "two ticks read alike"
    for ns, label in ticks:
        number, unit = label.split()
        value = float(number) * {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[unit]
        assert value == pytest.approx(ns - begin + zero, abs=1)


@given(st.text(), st.floats(0, 500))
def test_fitted_text_fits(words: str, width: float) -> None:
    assert text_width(fitted(words, width, 12), 12) <= width


@given(st.text(max_size=300))
def test_wrapped_lines_fit(words: str) -> None:
    assert all(text_width(line, 13) <= 200 for line in wrapped(words, 200, 13))
