# SPDX-License-Identifier: GPL-2.0-only
"""A few injections of each kind; `python -m tests.accuracy` makes the published table of many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cross, loop, matrix
from .kinds import NAMES
from .score import rows, unconserved
from .subject import COMM
from .window import window

pytestmark = pytest.mark.bpf

# Of so few, one may go wrong by what else the machine does; the goal is for the full table.
INJECTIONS = 5
LEAST_JUDGED = 2
MOST_WRONG = 1
LEAST_RIGHT = 0.95
# Emulated, an interrupt's own entry and exit take as long as what is injected there.
MOST_ERROR = 0.15 if matrix.is_slow() else 0.05


@pytest.fixture(scope="module")
def outcome() -> matrix.Outcome:
    return matrix.measure(NAMES, INJECTIONS, seed=7)


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
    found = {each.kind: each for each in cross.accounts(outcome.turns, outcome.trace)}
    for kind in ("hog", "preempt", "rival", "migrate"):
        account = found[kind]
        assert account.steps == sum(turn.kind == kind for turn in outcome.turns)
        assert abs(account.runnable_ns - account.schedstat_ns) < 0.05 * account.schedstat_ns


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
