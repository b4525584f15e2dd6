# SPDX-License-Identifier: GPL-2.0-only
"""The report on a window of steps."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from traces import MS, US, step, trace, traces, wait

from agenttune.measure.formula import Term
from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Coverage, Missing
from agenttune.measure.stages import Stage
from agenttune.measure.trace import LEGS, Bucket, LegFigures, StepKind, Trace
from agenttune.report.steps import steps_text


def line(text: str, start: str) -> str:
    return next(each for each in text.splitlines() if each.strip().startswith(start))


def section(text: str, title: str) -> str:
    """The lines of one section, without its title."""
    return text.split(f"\n\n{title}")[1].split("\n\n")[0]


def measured() -> Trace:
    legs = tuple(LegFigures(leg, Histogram.of([20 * US] * 1500)) for leg in LEGS)
    kept = [step(9 * MS, [wait(0, 5 * MS, 4 * MS)]), step(2 * MS, kind=StepKind.MODEL)]
    return trace(kept, legs=legs)


def test_each_stage_has_the_notes_ranges_beside_its_quantiles() -> None:
    text = steps_text(measured())
    found = line(text, Stage.WAKEUP)
    words = re.split(r"\s{2,}", found.strip())
    assert words == [
        "scheduler wakeup to run",
        "5 us - 30 us",
        "100 us - 5 ms",
        "wakeup to run",
        "1500",
        *["19.7 us"] * 3,
        "few",
        "quiet",
    ]
    for stage in Stage:
        assert line(text, stage)


def test_the_notes_odd_ranges_are_kept() -> None:
    text = steps_text(measured())
    assert "50 ns - 300 ns  < 1 us" in re.sub(r" {2,}", "  ", line(text, Stage.IDT))
    assert "0.5 us - 3 us" in re.sub(r" {2,}", "  ", line(text, Stage.ENTRY))
    assert "100 us+" in line(text, Stage.RESUME)


def test_a_softirq_shows_both_of_its_parts() -> None:
    lines = section(steps_text(measured()), "stages").splitlines()
    index = next(i for i, each in enumerate(lines) if Stage.SOFTIRQ in each)
    assert "softirq pending" in lines[index]
    assert lines[index + 1].split()[:2] == ["softirq", "1500"]


def test_a_stage_that_cannot_be_seen_prints_no_number() -> None:
    found = line(steps_text(measured()), Stage.MSIX)
    assert found.endswith("not observable")
    assert re.split(r"\s{2,}", found.strip())[3:9] == ["-"] * 6


def test_shares_of_each_kind_add_up() -> None:
    text = section(steps_text(measured()), "where the steps' time went")
    rows = [re.split(r"\s{2,}", each.strip()) for each in text.splitlines()[1:]]
    assert rows[0] == ["term", "tool %", "tool time", "model %", "model time"]
    assert [row[0] for row in rows[1:]] == list(Term)
    for column in (1, 3):
        assert abs(sum(float(row[column]) for row in rows[1:]) - 100) < 0.05
    assert rows[2][:2] == ["L_tool_rpc", "44.44"]


def test_a_negative_residual_shows() -> None:
    made = step(9 * MS)
    seen = trace([replace(made, end_ns=made.end_ns - MS)])
    assert "-1.00 ms" in line(steps_text(seen), Term.RESIDUAL)


def test_coverage_says_what_is_missing() -> None:
    coverage = replace(
        trace().coverage,
        probes=Coverage(3, 4, 5, (Missing("fault", "no fentry", "faults are part of run"),)),
        matched=6,
        ambiguous=2,
        unattributed=2,
        coalesced=9,
        refused=1,
        lost_records=7,
    )
    text = steps_text(trace(coverage=coverage))
    assert "10 ended a wait: 6 matched (60.00 %), 2 ambiguous (20.00 %), 2 unattributed" in text
    assert "9 coalesced" in text
    assert "1 refused" in text
    assert "7 records lost" in text
    assert "4 lost, 3 recursion misses" in text
    assert "missing fault: no fentry; faults are part of run" in text


def test_virtual_cpus_are_told() -> None:
    assert "virtual or emulated" in steps_text(trace(hypervisor=True))
    assert "virtual" not in steps_text(trace(hypervisor=False))
    assert "virtual" not in steps_text(trace(hypervisor=None))


def test_a_window_without_steps_says_so() -> None:
    text = steps_text(trace())
    assert "no step ended in the window" in text
    assert "where the steps' time went" not in text


def test_names_cannot_command_the_terminal() -> None:
    hostile = wait(0, 5 * MS, MS)
    hostile = replace(hostile, holder=replace(hostile.holder, tid=5, comm="\x1b[2J", held_ns=MS))
    assert "\x1b" not in steps_text(trace([step(9 * MS, [hostile])]))


@settings(max_examples=25)
@given(traces())
def test_any_trace_can_be_printed(seen: Trace) -> None:
    text = steps_text(seen)
    assert all(each.isprintable() for each in text.splitlines())
    assert Bucket.EXTERNAL not in section(text, "stages")
