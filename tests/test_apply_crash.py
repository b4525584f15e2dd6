# SPDX-License-Identifier: GPL-2.0-only
"""kill -9 before and after every effect of apply and of revert, then revert: no difference."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from change_host import (
    AGENT,
    SOCKET,
    THREAD,
    FakeKernel,
    contents,
    do_apply,
    do_revert,
    make_plan,
)
from kill_points import kill_everywhere

from agenttune.change.entry import Entry
from agenttune.change.journal import read_journal
from agenttune.errors import ExitCode
from agenttune.policy.plan import KnobKind


def files_of(root: Path, entries: tuple[Entry, ...]) -> set[str]:
    """The files that these entries may have changed."""
    fixed = {
        KnobKind.IRQBALANCE_BANS: SOCKET,
        KnobKind.IRQ_THREAD_AFFINITY: f"/proc/{THREAD}/status",
        KnobKind.TASK_AFFINITY: f"/proc/{AGENT}/status",
    }
    paths = set()
    for entry in entries:
        path = fixed.get(entry.knob.kind, entry.place)
        if entry.knob.kind is KnobKind.VECTOR_AFFINITY:
            path = f"/proc/irq/{entry.place}/smp_affinity_list"
        paths.add(str((root / path[1:]).resolve().relative_to(root.resolve())))
    return paths


def check_covered(kernel: FakeKernel, state: Path, start: dict[str, bytes]) -> int:
    """Every difference from the start has an intent on record; the number of differences."""
    now = contents(kernel.root)
    changed = {name for name in start if now.get(name) != start[name]} | (now.keys() - start.keys())
    with read_journal(state) as journal:
        made = journal.open_transactions() if journal else ()
    assert changed <= files_of(kernel.root, made[0].open_entries if made else ())
    return len(changed)


@pytest.mark.parametrize("fails", [False, True], ids=["apply", "failing-apply"])
def test_killed_apply(kernel: FakeKernel, place: Path, fails: bool) -> None:
    """With a failing last write, the points after it are those of the roll-back."""
    start, plan = contents(kernel.root), make_plan(kernel.root)
    state = place / "state-0"

    def action() -> None:
        kernel.faults = {AGENT: errno.EINVAL} if fails else {}
        do_apply(kernel, plan, state)

    seen = set()
    for at in kill_everywhere(action):
        seen.add(check_covered(kernel, state, start))
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start, f"killed at point {at}"
        state = place / f"state-{at + 1}"
    assert at > 60
    assert seen == set(range(10 if fails else 11))
    assert (contents(kernel.root) == start) is fails


def test_killed_revert(kernel: FakeKernel, place: Path) -> None:
    start, plan = contents(kernel.root), make_plan(kernel.root)
    state = place / "state"
    do_apply(kernel, plan, state)
    seen = set()
    for at in kill_everywhere(lambda: do_revert(kernel, state)):
        seen.add(check_covered(kernel, state, start))
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start, f"killed at point {at}"
        do_apply(kernel, plan, state)
    assert at > 40
    assert seen == set(range(11))
    assert contents(kernel.root) == start
