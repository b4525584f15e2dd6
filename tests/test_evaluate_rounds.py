# SPDX-License-Identifier: GPL-2.0-only
"""Rounds on a fake host: what runs, what is undone, and what ends it."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from change_host import AGENT, FakeKernel, contents
from evaluate_ground import BASE, PINNING, TUNED, FakeGround, run

from agenttune.errors import RevertIncomplete
from agenttune.evaluate.arm import Arm, Command
from agenttune.evaluate.rounds import Stopped, reason_against
from agenttune.evaluate.steady import steady
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Change, Knob, KnobKind, Plan


def test_every_arm_in_every_round_in_an_order_that_the_seed_gives(
    kernel: FakeKernel, state: Path
) -> None:
    start, ground = contents(kernel.root), FakeGround(kernel)
    done = run(kernel, state, ground, rounds=8)
    thirds = [ground.order[at : at + 3] for at in range(0, 24, 3)]
    assert all(Counter(each) == Counter(("baseline", "tuned", "pinning")) for each in thirds)
    assert len({tuple(each) for each in thirds}) > 2
    assert [(b.round, b.arm) for b in done.blocks] == [
        (number // 3 + 1, arm) for number, arm in enumerate(ground.order)
    ]
    again = FakeGround(kernel)
    run(kernel, state, again, rounds=8)
    assert again.order == ground.order
    assert contents(kernel.root) == start


def test_an_arm_is_there_in_its_blocks_and_nowhere_else(kernel: FakeKernel, state: Path) -> None:
    ground = FakeGround(kernel)
    untouched = ground.snapshot()
    run(kernel, state, ground)
    for arm, seen in zip(ground.order, ground.seen, strict=True):
        changed = {name for name in untouched if seen[name] != untouched[name]}
        assert bool(changed) is (arm != "baseline")
        if arm == "pinning":
            assert changed == {f"/proc/{AGENT}/task/{AGENT}/status"}


def test_an_arm_makes_the_same_changes_in_every_round(kernel: FakeKernel, state: Path) -> None:
    """Though the host would give its thread another CPU each time."""

    class Fickle(FakeGround):
        def plan(self, arm: Arm) -> Plan:
            plan = super().plan(arm)
            number = len(self.order)
            return replace(
                plan,
                changes=tuple(
                    replace(change, wanted=str(number % 8))
                    if change.knob.kind is KnobKind.TASK_AFFINITY
                    else change
                    for change in plan.changes
                ),
            )

    ground = Fickle(kernel)
    done = run(kernel, state, ground, arms=(BASE, PINNING), rounds=5)
    status = f"/proc/{AGENT}/task/{AGENT}/status"
    (change,) = done.plans["pinning"].changes
    pinned = [
        seen[status]
        for arm, seen in zip(ground.order, ground.seen, strict=True)
        if arm == "pinning"
    ]
    assert len(pinned) == 5 and set(pinned) == {f"Cpus_allowed_list:\t{change.wanted}"}


def test_a_later_plan_keeps_what_only_it_sees() -> None:
    def change(target: str, before: str, wanted: str) -> Change:
        return Change(Knob(KnobKind.VECTOR_AFFINITY, target), before, wanted, target, "a test")

    cpu = CpuMask.of([0])
    first = Plan("test", None, cpu, cpu, cpu, (change("a", "0-7", "1"), change("gone", "3", "1")))
    later = replace(first, changes=(change("new", "3", "2"), change("a", "3", "2")))
    assert steady(later, None) == later
    assert steady(later, first).changes == (change("new", "3", "2"), change("a", "3", "1"))


def test_what_someone_else_changes_is_told_and_left(kernel: FakeKernel, state: Path) -> None:
    budget = kernel.root / "proc/sys/net/core/dev_weight"
    before = budget.read_text()

    def meddle(_arm: str, number: int) -> None:
        if number == 4:
            budget.write_text("99\n")

    done = run(kernel, state, FakeGround(kernel, during=meddle))
    told = [block.disturbances.foreign for block in done.blocks]
    assert [bool(each) for each in told] == [number == 4 for number in range(9)]
    assert "dev_weight" in told[4][0] and "'99'" in told[4][0] and before.strip() in told[4][0]


def test_an_arm_that_cannot_be_applied_is_dropped_and_the_rest_goes_on(
    kernel: FakeKernel, state: Path
) -> None:
    start = contents(kernel.root)
    kernel.faults = {"/proc/sys/net/core/netdev_budget": errno.EINVAL}
    done = run(kernel, state, FakeGround(kernel))
    assert "netdev_budget" in done.dropped["tuned"]
    assert {block.arm for block in done.blocks} == {"baseline", "pinning"}
    assert done.complete == 3 and not done.stopped
    assert contents(kernel.root) == start


@pytest.mark.parametrize("number", [3, 4, 5])
def test_a_stop_in_any_block_leaves_the_host_as_it_was(
    kernel: FakeKernel, state: Path, number: int
) -> None:
    start = contents(kernel.root)

    def stop(_arm: str, at: int) -> None:
        if at == number:
            raise Stopped("asked to")

    done = run(kernel, state, FakeGround(kernel, during=stop))
    assert done.stopped == "asked to" and done.complete == 1
    assert {block.round for block in done.blocks} == {1}
    assert contents(kernel.root) == start


def test_an_error_in_a_block_leaves_the_host_as_it_was(kernel: FakeKernel, state: Path) -> None:
    start = contents(kernel.root)

    def fail(arm: str, _at: int) -> None:
        if arm == "tuned":
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        run(kernel, state, FakeGround(kernel, during=fail))
    assert contents(kernel.root) == start


def test_the_guard_stops_an_arm_that_is_worse_and_only_then(
    kernel: FakeKernel, state: Path
) -> None:
    def slow(arm: str, _number: int) -> list[int]:
        return [1000 + at % 50 for at in range(2000)] if arm != "tuned" else [2500] * 2000

    start = contents(kernel.root)
    done = run(kernel, state, FakeGround(kernel, durations=slow), guard=2.0)
    assert "2000 of 2000 steps took longer" in done.stopped
    assert "2 times the baseline's p99" in done.stopped
    assert contents(kernel.root) == start
    assert run(kernel, state, FakeGround(kernel, durations=slow), guard=3.0).stopped == ""


def test_a_foreign_value_at_the_revert_ends_it_loudly(kernel: FakeKernel, state: Path) -> None:
    budget = kernel.root / "proc/sys/net/core/netdev_budget"

    def meddle(arm: str, _number: int) -> None:
        if arm == "tuned":
            budget.write_text("12345\n")

    with pytest.raises(RevertIncomplete, match="tuned could not be undone") as caught:
        run(kernel, state, FakeGround(kernel, during=meddle))
    assert "netdev_budget" in caught.value.message
    assert budget.read_text() == "12345\n"


def own(tmp_path: Path, apply: str = "true", undo: str = "true") -> Arm:
    return Arm(
        "own", "a test's", command=Command(apply.format(t=tmp_path), undo.format(t=tmp_path))
    )


def test_an_arm_of_ones_own_runs_its_commands_around_each_block(
    kernel: FakeKernel, state: Path, tmp_path: Path
) -> None:
    arm = own(
        tmp_path,
        "echo kept > $AGENTTUNE_ARM_STATE; touch {t}/made; echo a >> {t}/log",
        "grep -q kept $AGENTTUNE_ARM_STATE && rm {t}/made; echo u >> {t}/log",
    )
    seen = []
    ground = FakeGround(kernel, during=lambda a, _n: seen.append((a, (tmp_path / "made").exists())))
    start = contents(kernel.root)
    done = run(kernel, state, ground, arms=(BASE, arm), rounds=2)
    assert sorted(seen) == [("baseline", False)] * 2 + [("own", True)] * 2
    assert (tmp_path / "log").read_text().split() == ["a", "u"] * 2
    assert done.complete == 2 and contents(kernel.root) == start


def test_a_command_that_fails_is_undone_and_its_arm_dropped(
    kernel: FakeKernel, state: Path, tmp_path: Path
) -> None:
    arm = own(tmp_path, "touch {t}/half; echo 'no such thing' >&2; exit 3", "rm -f {t}/half")
    done = run(kernel, state, FakeGround(kernel), arms=(BASE, arm, PINNING))
    assert "failed (exit 3): no such thing" in done.dropped["own"]
    assert not (tmp_path / "half").exists()
    assert {block.arm for block in done.blocks} == {"baseline", "pinning"}


def test_an_undo_that_leaves_something_behind_ends_it(
    kernel: FakeKernel, state: Path, tmp_path: Path
) -> None:
    weight = kernel.root / "proc/sys/net/core/dev_weight"
    arm = own(tmp_path, f"echo 7 > {weight}")
    with pytest.raises(RevertIncomplete, match="dev_weight"):
        run(kernel, state, FakeGround(kernel), arms=(BASE, arm))


def test_an_arm_whose_plan_is_empty_says_why(kernel: FakeKernel) -> None:
    ground = FakeGround(kernel)
    assert reason_against(BASE, ground.plan(BASE)) == ""
    assert reason_against(TUNED, ground.plan(TUNED)) == ""
    assert "changes nothing" in reason_against(TUNED, ground.plan(BASE))
