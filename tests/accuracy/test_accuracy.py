# SPDX-License-Identifier: GPL-2.0-only
"""A few injections of each kind; `python -m tests.accuracy` makes the published table of many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agenttune.measure.trace import Bucket

from . import cross, loop, matrix
from .kinds import NAMES
from .machine import is_slow
from .score import rows, unconserved
from .subject import COMM
from .window import window

pytestmark = pytest.mark.bpf

# Of so few, one may go wrong by what else the machine does; the goal is for the full table.
INJECTIONS = 6
LEAST_JUDGED = 1
# Emulated, the host takes a virtual CPU away for ms at a time, which no truth knows.
MOST_WRONG = 3 if is_slow() else 1
LEAST_RIGHT = 0.85 if is_slow() else 0.95
# Emulated, an interrupt's own entry and exit take as long as what is injected there.
# Natively, what a busy machine does between the stamps of two clocks counts as error of few reads.
MOST_ERROR = 0.4 if is_slow() else 0.2


SCHEDSTAT_NS = 500_000 if is_slow() else 20_000
# Some virtual machines leave out tracepoint calls; agenttune then says 'unseen', and how often.
MOST_UNSEEN = 0.15


@pytest.fixture(scope="module")
def outcome() -> matrix.Outcome:
    """Without the steps that agenttune says it could not see."""
    found = matrix.measure(NAMES, INJECTIONS, seed=7)
    unseen = {
        each.turn.id
        for each in found.verdicts
        if each.step and 10 * each.step.ns(Bucket.UNSEEN) > each.step.duration_ns
    }
    assert not unseen or found.trace.coverage.missed_switches
    assert len(unseen) <= MOST_UNSEEN * len(found.verdicts), unseen
    return replace(
        found,
        turns=[turn for turn in found.turns if turn.id not in unseen],
        verdicts=[each for each in found.verdicts if each.turn.id not in unseen],
    )


def test_each_kind_is_told_apart(outcome: matrix.Outcome) -> None:
    found = rows(outcome.turns, outcome.verdicts)
    few = [row for row in found if row.judged < LEAST_JUDGED]
    assert not few, "injections that miss their steps test nothing"
    assert [row for row in found if row.judged - row.right > MOST_WRONG] == []


def test_most_are_right(outcome: matrix.Outcome) -> None:
    wrong = [
        (each.turn.kind, each.turn.truth_ns, each.named)
        for each in outcome.verdicts
        if not each.right
    ]
    assert len(wrong) <= (1 - LEAST_RIGHT) * len(outcome.verdicts), wrong


def test_sizes_are_right(outcome: matrix.Outcome) -> None:
    found = rows(outcome.turns, outcome.verdicts)
    large = [row for row in found if row.error_median and row.error_median > MOST_ERROR]
    assert large == []


def test_every_step_is_conserved(outcome: matrix.Outcome) -> None:
    assert len(outcome.trace.steps) >= len(outcome.turns)
    assert unconserved(outcome.trace) == []


def test_the_kernel_counted_the_same(outcome: matrix.Outcome) -> None:
    """schedstat misses what its run queue's clock missed: see injectors/flood.c."""
    steps = {step.id: step for step in outcome.trace.steps if step.comm == COMM}
    kinds = ("hog", "preempt", "rival", "migrate")
    turns = [turn for turn in outcome.turns if turn.kind in kinds]
    off = [
        turn
        for turn in turns
        if abs(cross.total(steps[turn.id], cross.OFF_CPU_RUNNABLE) - turn.delay_ns)
        > SCHEDSTAT_NS + 0.05 * turn.delay_ns
    ]
    assert len(turns) > len(kinds) * INJECTIONS / 2
    assert len(off) <= 0.1 * len(turns), off


def test_nothing_is_left_behind(outcome: matrix.Outcome) -> None:
    assert outcome.turns
    assert not list(Path("/sys/fs/cgroup").glob("**/at-accuracy-*"))
    assert not list(Path("/var/tmp").glob("at-accuracy-*"))
    assert not list(Path("/dev").glob("nullb*")) + list(Path("/dev").glob("at-accuracy"))
    comms = {path.read_text().strip() for path in alive()}
    assert not comms & {"at-hog", "at-rival", "at-flood", "at-peer", COMM}


def alive() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        if os.access(path, os.R_OK):
            yield path


def test_completions_reach_the_right_step() -> None:
    """Eight in flight on one thread, each with a socket of its own."""
    with tempfile.TemporaryDirectory() as name:
        with window(Path(name), f"comm:{loop.COMM}") as followed:
            calls = loop.run(steps=15, seed=7)
        found = loop.score(calls, followed.trace())
    assert found.calls == 15 * loop.WORKERS
    assert found.interleaved > found.calls / 2, "the steps must share the thread to test this"
    assert found.right >= 0.99 * found.calls, found
