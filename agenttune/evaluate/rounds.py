# SPDX-License-Identifier: GPL-2.0-only
"""Rounds: every arm in every round, in random order, each set up, observed and taken back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from agenttune.change.apply import Applied, apply
from agenttune.change.entry import EntryState
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.change.revert import revert
from agenttune.errors import ApplyError, ExitCode, HostError, PlanRefused, RevertIncomplete
from agenttune.evaluate.arm import Arm
from agenttune.evaluate.audit import differences
from agenttune.evaluate.comparison import BASELINE
from agenttune.evaluate.guard import Guard
from agenttune.evaluate.result import Block
from agenttune.evaluate.steady import steady
from agenttune.evaluate.step_log import Timing
from agenttune.policy.module import AGENT_CPUS
from agenttune.policy.plan import Knob, KnobKind, Plan

# Why a block must end now; '' while it may go on.
Objection = Callable[[Sequence[Timing], float], str]
_GOES_ON: Objection = lambda _steps, _seconds: ""  # noqa: E731


# The module does nothing when it is loaded, nor when it knows the agent's CPUs.
_WHOSE_CPUS = Knob(KnobKind.MODULE_SETTING, AGENT_CPUS)


class Stopped(Exception):
    """The rounds end here; the host is as it was."""


class Ground(Protocol):
    """Where an evaluation happens: this host, or a test's."""

    def plan(self, arm: Arm) -> Plan: ...

    def settle(self) -> None:
        """Let the host come to rest; what the agent does meanwhile is discarded. Raises Stopped."""

    def observe(self, objection: Objection) -> tuple[Block, Sequence[Timing]]:
        """One block. Raises Stopped."""

    def snapshot(self) -> Mapping[str, str]: ...


@dataclass
class Outcome:
    """What the rounds gave. `dropped`: arm → why it has no place in the comparison."""

    blocks: list[Block] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    complete: int = 0


def run_rounds(
    arms: Sequence[Arm],
    rounds: int,
    ground: Ground,
    kernel: Kernel,
    journal: Journal,
    *,
    seed: int,
    guard: float | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Raises RevertIncomplete when an arm left something behind; nothing goes on after that."""
    done = Outcome()
    watch = Guard(guard) if guard is not None else None
    order = random.Random(seed)
    left = list(arms)
    for number in range(1, rounds + 1):
        order.shuffle(left)
        if watch and number == 1:
            # The guard knows the baseline before it watches the first arm.
            left.sort(key=lambda arm: arm.name != BASELINE)
        for arm in tuple(left):
            say(f"round {number} of {rounds}: {arm.name}")
            try:
                block = _one(arm, ground, kernel, journal, watch, done)
            except Stopped as stop:
                done.stopped = str(stop)
                return _complete(done)
            except (ApplyError, HostError, PlanRefused) as error:
                if arm.name == BASELINE:
                    raise
                done.dropped[arm.name] = error.message
                left.remove(arm)
                continue
            done.blocks.append(replace(block, round=number, arm=arm.name))
        done.complete = number
    return _complete(done)


def reason_against(arm: Arm, plan: Plan) -> str:
    """Why running an arm would show nothing; '' when it changes something."""
    if arm.name == BASELINE or plan.changes:
        return ""
    unmet = (f"cannot {each.what}: {each.why}. {each.remedy}" for each in plan.unmet)
    notes = "; ".join((*unmet, *plan.notes))
    return "its plan changes nothing on this host" + (f": {notes}" if notes else "")


def _one(
    arm: Arm,
    ground: Ground,
    kernel: Kernel,
    journal: Journal,
    watch: Guard | None,
    done: Outcome,
) -> Block:
    before = ground.snapshot()
    plan = steady(ground.plan(arm), done.plans.get(arm.name))
    done.plans.setdefault(arm.name, plan)
    with _applied(arm, plan, kernel, journal):
        ground.settle()
        block, steps = ground.observe(watch.objection if watch and plan.changes else _GOES_ON)
    if watch and arm.name == BASELINE:
        watch.learn(steps)
    changed = differences(before, ground.snapshot())
    if changed and arm.command is not None:
        raise RevertIncomplete(
            f"arm {arm.name}: its --undo left these behind:\n  " + "\n  ".join(changed),
            hint="Put them back by hand; the evaluation has ended.",
        )
    return replace(block, disturbances=replace(block.disturbances, foreign=changed))


@contextmanager
def _applied(arm: Arm, plan: Plan, kernel: Kernel, journal: Journal) -> Iterator[None]:
    """The plan's changes, from their durable intents to their audited reversal."""
    made = apply(plan, kernel, journal) if plan.changes else None
    try:
        if made:
            _require_effect(made)
        yield
    finally:
        if made:
            undone = revert(kernel, journal)
            if undone.exit_code is not ExitCode.OK:
                left = [each for each in undone.restorations if each.detail]
                raise RevertIncomplete(
                    f"arm {arm.name} could not be undone:\n  "
                    + "\n  ".join(f"{each.entry.label}: {each.detail}" for each in left),
                    hint="See 'agenttune status', then run 'agenttune revert' to try again.",
                )


def _require_effect(made: Applied) -> None:
    """Raises ApplyError when all that is left of a plan does nothing by itself."""
    skipped = [item.entry for item in made.items if item.entry.state is EntryState.SKIPPED]
    written = [item.entry.knob for item in made.items if item.entry not in skipped]
    if all(knob.kind is KnobKind.MODULE or knob == _WHOSE_CPUS for knob in written):
        notes = "; ".join(dict.fromkeys(entry.note for entry in skipped))
        raise ApplyError(f"nothing of it could be applied: {notes}")


def _complete(done: Outcome) -> Outcome:
    """Without the blocks of incomplete rounds and of arms that were dropped."""
    done.blocks = [
        block
        for block in done.blocks
        if block.round <= done.complete and block.arm not in done.dropped
    ]
    return done
