# SPDX-License-Identifier: GPL-2.0-only
"""A model of what one machine's CPUs, threads and steps did, nanosecond by nanosecond.

Written apart from bpf/: it settles each CPU's clock into whatever runs innermost there, keeps each
chain as a list of dated legs, and knows every turn. Nothing here is clever or bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

(
    RUN,
    SYSCALL,
    FAULT,
    STOLEN_HARDIRQ,
    STOLEN_SOFTIRQ,
    WAKE_IPI,
    RUN_QUEUE,
    PREEMPTED,
    THROTTLED,
    EXTERNAL,
    HARDIRQ,
    PENDING,
    SOFTIRQ,
    THREAD,
    EVENT_LOOP,
    UNSEEN,
) = range(16)
LEGS = (HARDIRQ, PENDING, SOFTIRQ, THREAD)
NET_RX = 3
BY_IRQ, BY_TASK, SHARED, IN_KSOFTIRQD, BY_THREAD, HIDDEN = 1, 2, 4, 8, 16, 32
BLOCKED, WAS_THROTTLED, MIGRATED, NO_WAKING, NO_WAKEUP = 1, 2, 4, 32, 64
OVERLAPPED, INTERLEAVED, READY = 1, 2, 8
KTHREADS = range(64, 128)
KSOFTIRQDS = range(128, 192)
TURNS = 16


class Cause(NamedTuple):
    """`legs`: (time, leg) in time order, at most one of each leg."""

    legs: tuple[tuple[int, int], ...] = ()
    irq: int = 0
    irq_cpu: int = 0
    origin: int = 0
    conduit: int = 0
    flags: int = 0

    def then(self, now: int, leg: int) -> Cause:
        """Goes on in `leg`; one that it had already makes all up to that one history."""
        kinds = [kind for _, kind in self.legs]
        if kinds and kinds[-1] == leg:
            return self
        kept = self.legs[kinds.index(leg) + 1 :] if leg in kinds else self.legs
        return self._replace(legs=(*kept, (now, leg)))

    def shared(self, irq: int) -> Cause:
        """What it began is also that interrupt's work."""
        alone = self.flags & BY_IRQ and self.irq == irq
        return self if alone else self._replace(flags=self.flags | SHARED)

    def split(self, start: int, end: int, totals: list[int]) -> None:
        """Charge [start, end) to the leg that each nanosecond was in."""
        here, leg = start, EXTERNAL
        for when, following in self.legs:
            until = min(max(when, here), end)
            totals[leg] += until - here
            here, leg = until, following
        totals[leg] += end - here


class Done(NamedTuple):
    kind: int = 0
    when: int = 0
    subject: int = 0


class Chain(NamedTuple):
    cause: Cause
    vector: int
    cpu: int
    done: Done


NOT_DONE = Done()
NO_CAUSE = Cause()


@dataclass(slots=True)
class Hardirq:
    irq: int
    start: int
    self_ns: int = 0
    done: Done = NOT_DONE


@dataclass(slots=True)
class Softirq:
    vector: int
    cause: Cause
    self_ns: int = 0
    done: Done = NOT_DONE

    def join(self, irq: int) -> None:
        """An interrupt ended in the middle of it: net_rx_action() may work for that one too."""
        if self.vector == NET_RX:
            self.cause = self.cause.shared(irq)


@dataclass(slots=True)
class Turn:
    start: int
    tid: int
    hard: dict[int, int] = field(default_factory=dict)
    soft: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class Cpu:
    """`pending` are raised vectors, `round` those of the snapshot that is worked on."""

    id: int
    task: int = 0
    cause: Cause = NO_CAUSE
    done: Done = NOT_DONE
    settled: int = 0
    hard_ns: int = 0
    soft_ns: int = 0
    hard: list[Hardirq] = field(default_factory=list)
    soft: Softirq | None = None
    pending: dict[int, Cause] = field(default_factory=dict)
    round: dict[int, Cause] = field(default_factory=dict)
    parked: tuple[int, Softirq, dict[int, Cause]] | None = None
    turns: list[Turn] = field(default_factory=list)


@dataclass(slots=True)
class Waking:
    when: int
    chain: Chain
    waker: int
    cpu: int
    wakeup: int = 0
    target: int = 0
    throttled: bool = False
    hard_ns: int = 0
    soft_ns: int = 0


@dataclass(slots=True)
class Wait:
    out: int
    waking: int
    wakeup: int
    back: int
    out_cpu: int
    queue_cpu: int
    in_cpu: int
    flags: int
    hard_ns: int
    soft_ns: int
    woken: Waking | None
    holder: tuple[int, int, int, int]
    thieves: tuple[tuple[int, int], int]


@dataclass(slots=True)
class Step:
    id: int
    kind: int
    begin: int
    base: list[int]
    counts: tuple[int, ...]
    cookie: int = 0
    ready: tuple[int, int, Chain] | None = None
    overlapped: bool = False
    interleaved: bool = False
    innermost: bool = True


@dataclass(slots=True)
class Thread:
    tid: int
    state: str = "new"
    mode: int = RUN
    cpu: int = 0
    seen: int = 0
    out: int = 0
    flags: int = 0
    hard_ns: int = 0
    soft_ns: int = 0
    totals: list[int] = field(default_factory=lambda: [0] * 16)
    waking: Waking | None = None
    stale: bool = False
    nr: list[int] = field(default_factory=lambda: [0] * 5)
    waits: list[Wait] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def settle(cpu: Cpu, threads: list[Thread], now: int) -> None:
    """Charge the time since this CPU was last looked at to what ran innermost."""
    ns = now - cpu.settled
    cpu.settled = now
    if cpu.hard:
        cpu.hard[-1].self_ns += ns
        cpu.hard_ns += ns
        bucket = STOLEN_HARDIRQ
    elif cpu.soft:
        cpu.soft.self_ns += ns
        cpu.soft_ns += ns
        bucket = STOLEN_SOFTIRQ
    else:
        bucket = RUN
    if 0 < cpu.task < 64:
        thread = threads[cpu.task]
        thread.totals[thread.mode if bucket == RUN else bucket] += ns


def cause_now(cpu: Cpu) -> Cause:
    if cpu.hard:
        frame = cpu.hard[-1]
        return Cause(((frame.start, HARDIRQ),), frame.irq, cpu.id, flags=BY_IRQ)
    if cpu.soft:
        return cpu.soft.cause
    if cpu.cause.flags:
        return cpu.cause
    return Cause(origin=cpu.task, flags=BY_TASK if cpu.task else 0)


def chain_now(cpu: Cpu, hidden: bool = False) -> Chain:
    if cpu.hard:
        return Chain(cause_now(cpu), 0, cpu.id, cpu.hard[-1].done)
    if hidden:
        return Chain(Cause(flags=HIDDEN), 0, cpu.id, Done())
    if cpu.soft:
        return Chain(cpu.soft.cause, cpu.soft.vector + 1, cpu.id, cpu.soft.done)
    return Chain(cause_now(cpu), 0, cpu.id, cpu.done)


def majority(times: dict[int, int] | dict[tuple[int, int], int]) -> int | tuple[int, int] | None:
    """What took more than half, if anything did."""
    whole = sum(times.values())
    return next((what for what, ns in times.items() if 2 * ns > whole), None)


def held(cpu: Cpu, start: int, end: int) -> tuple[tuple[int, int, int, int], Turn | None]:
    """(tid, held, seen, idle) in [start, end) as far as the last turns tell, and the longest."""
    recent = cpu.turns[-TURNS:]
    ends = [*[turn.start for turn in recent], end][1:]
    parts = [
        (min(stop, end) - max(turn.start, start), turn)
        for turn, stop in zip(recent, ends, strict=True)
        if min(stop, end) > max(turn.start, start)
    ]
    longest = max(((ns, turn.start, turn) for ns, turn in parts if turn.tid), default=None)
    turn = longest[2] if longest else None
    tid = turn.tid if turn else 0
    mine = sum(ns for ns, each in parts if tid and each.tid == tid)
    idle = sum(ns for ns, each in parts if not each.tid)
    return (tid, mine, sum(ns for ns, _ in parts), idle), turn


@dataclass(slots=True)
class Expected:
    """One step's record; `waits` are all of the step's, `innermost`: no other began inside."""

    step: Step
    end: int
    tid: int
    flags: int
    counts: tuple[int, ...]
    buckets: list[int]
    waits: list[Wait]


def ended_wait(cpu: Cpu, thread: Thread, cpus: list[Cpu], now: int) -> Wait:
    """Charge the wait that ends now, in hindsight."""
    out, queue, flags = thread.out, thread.cpu, thread.flags
    woken = thread.waking if flags & BLOCKED else None
    if woken is None:
        thread.nr[1] += 1
        thread.nr[3] += thread.waking is not None
        thread.totals[THROTTLED if flags & WAS_THROTTLED else PREEMPTED] += now - out
        start, hard, soft, times = out, thread.hard_ns, thread.soft_ns, (0, 0)
    else:
        waking = max(woken.when, out)
        woken.chain.cause.split(out, waking, thread.totals)
        thread.totals[WAKE_IPI] += woken.wakeup - waking
        thread.totals[THROTTLED if woken.throttled else RUN_QUEUE] += now - woken.wakeup
        thread.nr[4] += not woken.chain.cause.flags
        flags |= WAS_THROTTLED if woken.throttled else 0
        start, hard, soft = woken.wakeup, woken.hard_ns, woken.soft_ns
        times, queue = (waking, woken.wakeup), woken.target
    thread.nr[0] += 1
    thread.nr[2] += thread.cpu != cpu.id
    flags |= MIGRATED if queue != cpu.id else 0
    took = (cpu.hard_ns - hard, cpu.soft_ns - soft) if queue == cpu.id else (0, 0)
    holder, turn = held(cpus[queue], start, now)
    thieves = (majority(turn.soft), majority(turn.hard)) if turn else (None, None)
    return Wait(out, *times, now, thread.cpu, queue, cpu.id, flags, *took, woken, holder, thieves)


def record(thread: Thread, step: Step, now: int) -> Expected:
    """What the core must say of a step that ends now."""
    buckets = [total - base for total, base in zip(thread.totals, step.base, strict=True)]
    if step.ready and step.interleaved:
        buckets = [0] * 16
        step.ready[2].cause.split(step.begin, step.ready[0], buckets)
        buckets[EVENT_LOOP] = now - step.ready[0]
    flags = OVERLAPPED if step.overlapped else 0
    flags |= INTERLEAVED if step.interleaved else 0
    flags |= READY if step.ready else 0
    counts = tuple(count - base for count, base in zip(thread.nr, step.counts, strict=True))
    waits = [wait for wait in thread.waits if wait.out > step.begin]
    return Expected(step, now, thread.tid, flags, counts, buckets, waits)
