# SPDX-License-Identifier: GPL-2.0-only
"""Ground: this host as the place of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.command import MADE, NOT_MADE, Commands, target_of
from agenttune.evaluate import disturbances
from agenttune.evaluate.arm import Arm
from agenttune.evaluate.audit import snapshot
from agenttune.evaluate.observer import Observer
from agenttune.evaluate.quantiles import quantiles
from agenttune.evaluate.result import Block
from agenttune.evaluate.rounds import Objection, Stopped
from agenttune.evaluate.step_log import Timing
from agenttune.host.capture import read_host
from agenttune.host.host import Host
from agenttune.host.selector import Selector
from agenttune.host.tasks import find_tasks_in
from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Measurement
from agenttune.policy.plan import Change, Knob, KnobKind, Plan
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Profile

_TICK_S = 0.05
_LOOK_S = 1.0


class Subject(Protocol):
    """The agent: see subject.BuiltIn; `own_clock` False: its steps are timed by the kernel."""

    @property
    def selectors(self) -> tuple[Selector, ...]: ...

    @property
    def own_clock(self) -> bool: ...

    def take(self) -> list[Timing]: ...


class HostGround:
    """See rounds.Ground. `base`: the plan of the whole profile, for the CPUs of each role."""

    def __init__(
        self,
        kernel: Kernel,
        subject: Subject,
        observer: Observer | None,
        profile: Profile,
        measurement: Measurement | None,
        *,
        seconds: float,
        settle_s: float,
        stop: Callable[[], bool],
    ) -> None:
        self._kernel, self._subject, self._observer = kernel, subject, observer
        self._measurement = measurement
        self._seconds, self._settle_s, self._stop = seconds, settle_s, stop
        self.base = self._plan(profile, self.host())

    def host(self) -> Host:
        return read_host(self._kernel.root, self._subject.selectors)

    def plan(self, arm: Arm, host: Host | None = None) -> Plan:
        """Made anew for each block: vectors and threads may have come or gone (see steady).

        `host`: as read a moment ago, for several plans at once. Raises PlanRefused.
        """
        if arm.profile is not None:
            return self._plan(arm.profile, host or self.host())
        changes = (_command_change(arm, self.base),) if arm.command else ()
        return replace(self.base, profile=arm.name, changes=changes, unmovable=(), notes=())

    def settle(self) -> None:
        self._wait(self._settle_s, lambda _steps, _seconds: "")

    def observe(self, objection: Objection) -> tuple[Block, Sequence[Timing]]:
        pids = self._pids()
        before = disturbances.read(self._kernel.tree, pids)
        if self._observer:
            self._observer.begin()
        self._take()
        begin_ns = time.monotonic_ns()
        steps = self._wait(self._seconds, objection)
        end_ns = time.monotonic_ns()
        steps += self._take()
        after = disturbances.read(self._kernel.tree, pids)
        steps = [each for each in steps if begin_ns <= each.end_ns < end_ns]
        attribution = None
        if self._observer:
            app = steps if self._subject.own_clock else None
            attribution = self._observer.end(begin_ns, end_ns, self.base.agent_cpus, app)
        durations = [each.duration_ns for each in steps]
        block = Block(
            round=0,
            arm="",
            begin_ns=begin_ns,
            end_ns=end_ns,
            steps=len(steps),
            quantiles_ns=quantiles(durations),
            durations=Histogram.of(durations),
            disturbances=disturbances.between(before, after),
            interrupts=disturbances.interrupts(before, after),
            attribution=attribution,
        )
        return block, steps

    def snapshot(self) -> Mapping[str, str]:
        return snapshot(self._kernel.tree, self._pids())

    def _plan(self, profile: Profile, host: Host) -> Plan:
        selectors = self._subject.selectors
        return make_plan(host, replace(profile, selectors=selectors), self._measurement)

    def _pids(self) -> tuple[int, ...]:
        tasks = find_tasks_in(self._kernel.tree, self._subject.selectors)
        return tuple(sorted({task.tgid for task in tasks}))

    def _take(self) -> list[Timing]:
        """By the agent's own clock where it has one; the kernel's samples are kept either way."""
        kernel = self._observer.tick() if self._observer else []
        return self._subject.take() if self._subject.own_clock else kernel

    def _wait(self, seconds: float, objection: Objection) -> list[Timing]:
        steps: list[Timing] = []
        begin_s = look_s = time.monotonic()
        while (left := begin_s + seconds - time.monotonic()) > 0:
            time.sleep(min(left, _TICK_S))
            steps += self._take()
            if self._stop():
                raise Stopped("a signal asked for it")
            now_s = time.monotonic()
            if now_s - look_s >= _LOOK_S or left <= _TICK_S:
                look_s = now_s
                if why := objection(steps, now_s - begin_s):
                    raise Stopped(f"the guard: {why}")
        return steps


def _command_change(arm: Arm, base: Plan) -> Change:
    assert arm.command is not None
    commands = Commands(arm.name, arm.command.apply, arm.command.undo, str(base.agent_cpus))
    return Change(
        knob=Knob(KnobKind.COMMAND, target_of(commands)),
        before=NOT_MADE,
        wanted=MADE,
        label=f"arm {arm.name}",
        reason=f"{arm.what}: {arm.command.apply}",
    )
