# SPDX-License-Identifier: GPL-2.0-only
"""Observer: the kernel's side of the blocks; attached once, so that every arm bears its cost."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType

from agenttune.errors import HostError
from agenttune.evaluate.result import Agreement, Attribution
from agenttune.evaluate.step_log import Timing
from agenttune.host.cpumask import CpuMask
from agenttune.host.selector import Selector
from agenttune.measure import steps_layout as raw
from agenttune.measure.engine import Counters, Engine, open_engine
from agenttune.measure.filter import resolve
from agenttune.measure.histogram import Histogram, bucket_bounds, merge
from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import CompletionKind, StepCoverage

_SLOWEST_SHARE = 100
_SMALL_BYTES = 64 << 10
_BLOCK_IO = tuple(CompletionKind).index(CompletionKind.BLOCK)

Group = list[bytes]


class Observer:
    """begin(), tick() about every 0.05 s, end() for each block. Entry raises HostError."""

    def __init__(self, selectors: Sequence[Selector], engine: str) -> None:
        self._selectors, self._wanted = tuple(selectors), engine

    def __enter__(self) -> Observer:
        with ExitStack() as stack:
            self._steps = stack.enter_context(
                StepsSession(self._selectors, engine=self._wanted, keep_all=True)
            )
            self._engine: Engine = open_engine(resolve(self._selectors), self._wanted)
            stack.callback(self._engine.close)
            self._engine.open_window()
            self._stack = stack.pop_all()
        self._groups: list[Group] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def missing(self) -> tuple[str, ...]:
        """What this kernel cannot show, in words."""
        probes = self._steps.coverage().probes.missing + self._engine.counters().coverage.missing
        said = dict.fromkeys(f"{each.probe}: {each.reason}; {each.consequence}" for each in probes)
        return tuple(said)

    def begin(self) -> None:
        self._coverage = self._steps.coverage()
        self._counters = self._engine.counters()
        self._steps.drain()
        self._groups = []

    def tick(self) -> list[Timing]:
        """The steps that ended since the last tick, as the kernel timed them."""
        groups = self._steps.drain()
        self._groups += groups
        return [_timing(_step(group)) for group in groups]

    def end(
        self, begin_ns: int, end_ns: int, agent_cpus: CpuMask, app: Sequence[Timing] | None
    ) -> Attribution:
        """What was seen of the steps that ended in the block; `app`: the agent's own times."""
        self.tick()
        groups = [group for group in self._groups if begin_ns <= _step(group).end_ns < end_ns]
        self._groups = []
        steps = [_step(group) for group in groups]
        coverage, counters = self._steps.coverage(), self._engine.counters()
        slow = _slowest(steps)
        waits = [raw.WaitSample.from_buffer_copy(s).wait for group in groups for s in group[1:]]
        return Attribution(
            wakeups=Histogram.of(_wakeups(waits)),
            softirqs=_softirqs(self._counters, counters, agent_cpus),
            small_io=Histogram.of(_small_io(waits)),
            slow_steps=len(slow),
            slow_ns=sum(map(_duration, slow)),
            slow_buckets_ns=tuple(map(sum, zip(*(s.buckets_ns for s in slow), strict=True)))
            or (0,) * raw.BUCKETS,
            migrations=sum(step.counts.migrations for step in steps),
            missed_switches=coverage.missed_switches - self._coverage.missed_switches,
            lost=_lost(coverage) - _lost(self._coverage),
            agreement=None if app is None else agreement(app, map(_timing, steps)),
        )


def agreement(app: Sequence[Timing], kernel: Iterable[Timing]) -> Agreement:
    """A mark lies within the agent's two looks at its clock, so the kernel's interval does too."""
    by_id = {each.id: each for each in app}
    seen = list(kernel)
    pairs = [(by_id[each.id], each) for each in seen if each.id in by_id]
    outside = sum(k.begin_ns < a.begin_ns or k.end_ns > a.end_ns for a, k in pairs)
    return Agreement(
        app=len(app),
        kernel=len(seen),
        matched=len(pairs),
        outside=outside,
        overhead_ns=Histogram.of(max(0, a.duration_ns - k.duration_ns) for a, k in pairs),
    )


def difference(after: Histogram, before: Histogram) -> Histogram:
    """What came between two looks at one histogram; its maximum is then known to a bucket only."""
    buckets = {
        index: count - before.buckets.get(index, 0)
        for index, count in after.buckets.items()
        if count > before.buckets.get(index, 0)
    }
    if not buckets:
        return Histogram()
    high = bucket_bounds(max(buckets))[1]
    maximum = after.maximum if high is None else min(high, after.maximum)
    return Histogram(buckets, after.total - before.total, maximum)


def _slowest(steps: Sequence[raw.StepRecord]) -> list[raw.StepRecord]:
    """The slowest 1 %, one at least."""
    return heapq.nlargest(math.ceil(len(steps) / _SLOWEST_SHARE), steps, key=_duration)


def _step(group: Group) -> raw.StepRecord:
    record: raw.StepRecord = raw.StepSample.from_buffer_copy(group[0]).step
    return record


def _timing(step: raw.StepRecord) -> Timing:
    return Timing(step.id, 0, step.begin_ns, step.end_ns)


def _duration(step: raw.StepRecord) -> int:
    return int(step.end_ns - step.begin_ns)


def _wakeups(waits: Iterable[raw.BpfWait]) -> Iterable[int]:
    for wait in waits:
        cause = wait.chain.cause
        if cause.flags & raw.CAUSE_IRQ and cause.irq_ns and wait.in_ns >= cause.irq_ns:
            yield wait.in_ns - cause.irq_ns


def _small_io(waits: Iterable[raw.BpfWait]) -> Iterable[int]:
    for wait in waits:
        done = wait.chain.done
        if done.kind == _BLOCK_IO and done.bytes <= _SMALL_BYTES:
            yield done.latency_ns


def _softirqs(before: Counters, after: Counters, cpus: CpuMask) -> Histogram:
    then = {(load.vector, load.cpu): load.times for load in before.softirqs}
    return merge(
        difference(load.times, then.get((load.vector, load.cpu), Histogram()))
        for load in after.softirqs
        if load.cpu in cpus
    )


def _lost(coverage: StepCoverage) -> int:
    return coverage.lost_records + coverage.probes.lost


def open_observer(
    selectors: Sequence[Selector], engine: str, stack: ExitStack
) -> tuple[Observer | None, str]:
    """An observer, or why there is none: the steps' own times are enough to compare arms."""
    try:
        return stack.enter_context(Observer(selectors, engine)), ""
    except HostError as error:
        return None, error.message
