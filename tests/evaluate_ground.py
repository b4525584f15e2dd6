# SPDX-License-Identifier: GPL-2.0-only
"""A fake ground: a fake host to change, blocks that take no time, steps as a test wants them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from change_host import AGENT, FakeKernel, make_plan, plan_of

from agenttune.change.journal import open_journal
from agenttune.change.knobs.command import MADE, NOT_MADE
from agenttune.evaluate.arm import Arm, Command
from agenttune.evaluate.audit import snapshot
from agenttune.evaluate.comparison import BASELINE
from agenttune.evaluate.disturbances import Disturbances
from agenttune.evaluate.quantiles import quantiles
from agenttune.evaluate.result import Block
from agenttune.evaluate.rounds import Objection, Outcome, Stopped, run_rounds
from agenttune.evaluate.step_log import Timing
from agenttune.measure.histogram import Histogram
from agenttune.policy.plan import Change, Knob, KnobKind, Plan
from agenttune.policy.profile import Profile

BASE = Arm(BASELINE, "the host as it is")
TUNED = Arm("tuned", "everything", Profile("test", ""))
PINNING = Arm("pinning", "one change", Profile("test", ""))


class FakeGround:
    """`durations(arm, block number)` gives the ns of a block's steps; `during` runs inside it."""

    def __init__(
        self,
        kernel: FakeKernel,
        durations: Callable[[str, int], Sequence[int]] = lambda _arm, _number: [1000] * 200,
        during: Callable[[str, int], None] = lambda _arm, _number: None,
        settle_s: float = 0.0,
    ) -> None:
        self.kernel, self.durations, self.during = kernel, durations, during
        self.settle_s = settle_s
        self.order: list[str] = []
        self.seen: list[Mapping[str, str]] = []

    def plan(self, arm: Arm) -> Plan:
        self.arm = arm.name
        plan = make_plan(self.kernel.root)
        if arm.command:
            return plan_with_command(plan, arm.command)
        kinds = {BASELINE: (), "pinning": (KnobKind.TASK_AFFINITY,)}.get(arm.name, tuple(KnobKind))
        return plan_of(plan, *kinds)

    def settle(self) -> None:
        time.sleep(self.settle_s)

    def observe(self, objection: Objection) -> tuple[Block, Sequence[Timing]]:
        number = len(self.order)
        self.order.append(self.arm)
        self.seen.append(self.snapshot())
        self.during(self.arm, number)
        durations = self.durations(self.arm, number)
        steps = [Timing(at, 0, at, at + ns) for at, ns in enumerate(durations)]
        if why := objection(steps, 1.0):
            raise Stopped(why)
        histogram = Histogram.of(durations)
        return Block(
            0, "", 0, 10**9, len(steps), quantiles(durations), histogram, Disturbances(), {}, None
        ), steps

    def snapshot(self) -> Mapping[str, str]:
        return snapshot(self.kernel.tree, (AGENT,))


def plan_with_command(plan: Plan, command: Command) -> Plan:
    target = json.dumps({"name": "own", "apply": command.apply, "undo": command.undo})
    change = Change(Knob(KnobKind.COMMAND, target), NOT_MADE, MADE, "arm own", "a test")
    return Plan("own", None, plan.agent_cpus, plan.avoided_cpus, plan.housekeeping_cpus, (change,))


def run(
    kernel: FakeKernel,
    state: Path,
    ground: FakeGround,
    arms: Sequence[Arm] = (BASE, TUNED, PINNING),
    rounds: int = 3,
    guard: float | None = None,
) -> Outcome:
    with open_journal(state) as journal:
        return run_rounds(arms, rounds, ground, kernel, journal, seed=1, guard=guard)
