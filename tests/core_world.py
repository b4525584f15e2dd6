# SPDX-License-Identifier: GPL-2.0-only
"""Random legal events of one machine, with the model's expectation of each step's record."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from core_model import (
    BLOCKED,
    BY_IRQ,
    BY_THREAD,
    FAULT,
    IN_KSOFTIRQD,
    KSOFTIRQDS,
    KTHREADS,
    PENDING,
    RUN,
    SOFTIRQ,
    SYSCALL,
    THREAD,
    WAS_THROTTLED,
    Cause,
    Cpu,
    Done,
    Expected,
    Hardirq,
    Softirq,
    Step,
    Thread,
    Turn,
    Waking,
    cause_now,
    chain_now,
    ended_wait,
    record,
    settle,
)

EVENT = struct.Struct("<QQQIIII")
(
    HARDIRQ_ENTER,
    HARDIRQ_EXIT,
    RAISE,
    SOFTIRQ_ENTER,
    SOFTIRQ_EXIT,
    COMPLETE,
    WAKING,
    WAKEUP,
    SWITCH,
    MODE,
    BEGIN,
    END,
    BIND,
) = range(13)
SOCKET = 1
MOST_STEPS = 8


class World:
    """`rt`: a softirq may be preempted. Every call of `turn()` makes a few events at most."""

    def __init__(self, seed: int, nr_cpus: int, nr_threads: int, rt: bool, floor: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_000_000
        self.rt, self.floor = rt, floor
        self.cpus = [Cpu(index, settled=self.now) for index in range(nr_cpus)]
        self.threads = [Thread(tid) for tid in range(64)]
        self.blocked: list[int] = [*range(1, nr_threads + 1), *range(64, 68), *range(200, 203)]
        self.blocked += [128 + index for index in range(nr_cpus)]
        self.coming: list[tuple[int, int]] = []
        self.queues: list[list[int]] = [[] for _ in self.cpus]
        self.handed: dict[int, Cause] = {}
        self.bound: dict[int, Step] = {}
        self.events: list[bytes] = []
        self.expected: list[Expected] = []
        self.next_step, self.refused = 1, 0

    def turn(self) -> None:
        cpu = self.random.choice(self.cpus)
        if self.coming and self.random.random() < 0.3:
            self.wake_up()
        elif cpu.hard:
            self.choose(cpu, _IN_HARDIRQ)
        elif cpu.soft:
            self.choose(cpu, _IN_SOFTIRQ)
        elif cpu.round:
            self.choose(cpu, _BETWEEN)
        elif cpu.task:
            self.choose(cpu, _IN_THREAD if cpu.task < 64 else _IN_TASK)
        else:
            self.choose(cpu, _IDLE)

    def choose(self, cpu: Cpu, table: _Table) -> None:
        self.random.choices(table[0], cum_weights=table[1])[0](self, cpu)

    def emit(
        self, kind: int, cpu: Cpu, tid: int = 0, number: int = 0, one: int = 0, other: int = 0
    ) -> None:
        """Time passes, the CPU is settled, the event happens."""
        scale = self.random.choice((3, 300, 300, 30_000, 3_000_000))
        self.now += 1 + int(self.random.random() * scale)
        settle(cpu, self.threads, self.now)
        self.events.append(EVENT.pack(self.now, one, other, kind, cpu.id, tid, number))

    def hardirq(self, cpu: Cpu) -> None:
        irq = self.random.randrange(20, 26)
        if len(cpu.hard) >= 3:
            return
        self.emit(HARDIRQ_ENTER, cpu, number=irq)
        cpu.hard.append(Hardirq(irq, self.now))

    def hardirq_exit(self, cpu: Cpu) -> None:
        frame = cpu.hard[-1]
        self.emit(HARDIRQ_EXIT, cpu, number=frame.irq)
        cpu.hard.pop()
        self.vote(cpu, "hard", frame.irq, frame.self_ns)
        if cpu.soft and not cpu.hard:
            cpu.soft.join(frame.irq)

    def vote(self, cpu: Cpu, which: str, what: int | tuple[int, int], ns: int) -> None:
        if cpu.turns:
            times = getattr(cpu.turns[-1], which)
            times[what] = times.get(what, 0) + ns

    def raise_softirq(self, cpu: Cpu) -> None:
        vector = self.random.randrange(10)
        was = cpu.pending.get(vector)
        self.emit(RAISE, cpu, number=vector, one=was is not None)
        for raised in (cpu.round, cpu.pending, *(cpu.parked or ())[2:]):
            if cpu.hard and (cause := raised.get(vector)):
                raised[vector] = cause.shared(cpu.hard[-1].irq)
        if was is None:
            cpu.pending[vector] = cause_now(cpu).then(self.now, PENDING)

    def start_round(self, cpu: Cpu) -> None:
        """The kernel's snapshot of what is pending; ksoftirqd or the end of a hardirq runs it."""
        if cpu.pending and not cpu.parked:
            cpu.round, cpu.pending = cpu.pending, {}

    def softirq(self, cpu: Cpu) -> None:
        vector = min(cpu.round)
        self.emit(SOFTIRQ_ENTER, cpu, number=vector)
        cause = cpu.round.pop(vector).then(self.now, SOFTIRQ)
        if cpu.task in KSOFTIRQDS:
            cause = cause._replace(flags=cause.flags | IN_KSOFTIRQD)
        cpu.soft = Softirq(vector, cause)

    def softirq_exit(self, cpu: Cpu) -> None:
        frame = cpu.soft
        assert frame
        self.emit(SOFTIRQ_EXIT, cpu, number=frame.vector)
        cpu.soft = None
        irq = frame.cause.irq if frame.cause.flags & BY_IRQ else 0xFFFFFFFF
        self.vote(cpu, "soft", (frame.vector + 1, irq), frame.self_ns)

    def complete(self, cpu: Cpu) -> None:
        kind = self.random.randrange(1, 4)
        subject = self.random.choice([*self.bound, 250])
        self.emit(COMPLETE, cpu, number=kind, one=subject)
        done = Done(kind, self.now, subject)
        if cpu.hard:
            cpu.hard[-1].done = done
        elif cpu.soft:
            cpu.soft.done = done
        else:
            cpu.done = done
        step = self.bound.get(subject) if kind == SOCKET else None
        if step:
            count = step.ready[1] if step.ready else 0
            step.ready = (self.now, count + 1, chain_now(cpu))

    def wake(self, cpu: Cpu) -> None:
        if not self.blocked:
            return
        index = self.random.randrange(len(self.blocked))
        tid = self.blocked[index]
        self.blocked[index] = self.blocked[-1]
        self.blocked.pop()
        self.waking(cpu, tid)
        home = tid - 128 if tid in KSOFTIRQDS else self.random.randrange(len(self.cpus))
        self.coming.append((tid, home))

    def waking(self, cpu: Cpu, tid: int) -> None:
        hidden = not cpu.hard and self.random.random() < 0.02
        self.emit(WAKING, cpu, tid=tid, number=hidden, one=cpu.task)
        if tid in KTHREADS:
            handed = cause_now(cpu).then(self.now, THREAD)
            self.handed[tid] = handed._replace(conduit=tid, flags=handed.flags | BY_THREAD)
        elif tid < 64:
            thread = self.threads[tid]
            if thread.waking:
                thread.nr[3] += 1
            if thread.state != "runs" and thread.waking and not thread.stale:
                return
            thread.stale = thread.state == "runs"
            thread.waking = Waking(self.now, chain_now(cpu, hidden), cpu.task, cpu.id)

    def wake_up(self) -> None:
        tid, home = self.coming.pop(self.random.randrange(len(self.coming)))
        self.wakeup(tid, home)
        self.queues[home].append(tid)
        if self.random.random() < 0.02 and tid < 64:
            self.waking(self.random.choice(self.cpus), tid)

    def wakeup(self, tid: int, home: int) -> None:
        if tid >= 64:
            return
        target = self.cpus[home]
        throttled = self.random.random() < 0.05
        self.emit(WAKEUP, self.random.choice(self.cpus), tid=tid, number=home, one=throttled)
        waking = self.threads[tid].waking
        settle(target, self.threads, self.now)
        if waking and not waking.wakeup:
            waking.wakeup, waking.target, waking.throttled = self.now, home, throttled
            waking.hard_ns, waking.soft_ns = target.hard_ns, target.soft_ns

    def wake_running(self, cpu: Cpu) -> None:
        """Someone else wakes this thread while it still runs: in vain, or just as it leaves."""
        other = self.random.choice(self.cpus)
        tid = cpu.task
        if other is cpu:
            return
        settle(cpu, self.threads, self.now)
        self.waking(other, tid)
        if self.random.random() < 0.5:
            self.wakeup(tid, cpu.id)
            return
        self.switch_to(cpu, 0, BLOCKED)
        self.coming.append((tid, cpu.id))

    def pick(self, cpu: Cpu) -> int:
        """The next task: of this CPU's queue, or another's, unless it must not move."""
        queue = self.queues[cpu.id]
        if self.random.random() < 0.1:
            queue = self.random.choice(self.queues)
        fixed = {each.parked[0] for each in self.cpus if each.parked and each is not cpu}
        movable = [
            tid
            for tid in queue
            if tid not in fixed and (tid not in KSOFTIRQDS or tid == 128 + cpu.id)
        ]
        if not movable:
            return 0
        tid = self.random.choice(movable)
        queue.remove(tid)
        return tid

    def run_next(self, cpu: Cpu) -> None:
        tid = self.pick(cpu)
        if tid:
            self.switch_to(cpu, tid, 0)

    def preempt(self, cpu: Cpu) -> None:
        tid = self.pick(cpu)
        if tid:
            self.queues[cpu.id].append(cpu.task)
            throttled = self.random.random() < 0.2
            self.switch_to(cpu, tid, WAS_THROTTLED if throttled else 0)

    def preempt_softirq(self, cpu: Cpu) -> None:
        if self.rt and cpu.task and not cpu.parked:
            self.preempt(cpu)

    def block(self, cpu: Cpu) -> None:
        self.blocked.append(cpu.task)
        self.switch_to(cpu, self.pick(cpu), BLOCKED)

    def switch_to(self, cpu: Cpu, tid: int, flags: int) -> None:
        prev = cpu.task
        self.emit(SWITCH, cpu, tid=prev, number=tid, one=flags)
        if cpu.soft:
            cpu.parked, cpu.soft, cpu.round = (prev, cpu.soft, cpu.round), None, {}
        if cpu.parked and cpu.parked[0] == tid:
            _, cpu.soft, cpu.round = cpu.parked
            cpu.parked = None
        if 0 < prev < 64:
            self.leave(cpu, self.threads[prev], flags)
        if 0 < tid < 64:
            self.enter(cpu, self.threads[tid])
        cpu.turns.append(Turn(self.now, tid))
        del cpu.turns[:-64]
        cpu.task, cpu.done = tid, Done()
        cpu.cause = self.handed.get(tid, Cause())

    def leave(self, cpu: Cpu, thread: Thread, flags: int) -> None:
        racing = thread.waking and not thread.waking.wakeup and flags & BLOCKED
        thread.stale = thread.waking is not None and not racing
        thread.state, thread.out, thread.flags = "off", self.now, flags
        thread.hard_ns, thread.soft_ns = cpu.hard_ns, cpu.soft_ns

    def enter(self, cpu: Cpu, thread: Thread) -> None:
        if thread.state == "new":
            thread.seen = self.now
        else:
            wait = ended_wait(cpu, thread, self.cpus, self.now)
            if thread.steps and wait.back - wait.out >= self.floor:
                thread.waits.append(wait)
        thread.state, thread.cpu = "runs", cpu.id
        thread.waking, thread.stale = None, False

    def change_mode(self, cpu: Cpu) -> None:
        mode = self.random.choice((RUN, SYSCALL, FAULT))
        self.emit(MODE, cpu, tid=cpu.task, number=mode)
        self.threads[cpu.task].mode = mode

    def begin(self, cpu: Cpu) -> None:
        thread = self.threads[cpu.task]
        if thread.steps and self.random.random() < 0.7:
            return
        kind = self.random.randrange(3)
        self.emit(BEGIN, cpu, tid=cpu.task, number=kind, one=self.next_step)
        step = Step(self.next_step, kind, self.now, list(thread.totals), tuple(thread.nr))
        self.next_step += 1
        if len(thread.steps) >= MOST_STEPS:
            self.refused += 1
            return
        for other in thread.steps:
            other.overlapped = step.overlapped = True
            other.innermost = False
        thread.steps.append(step)
        if self.random.random() < 0.3:
            self.bind(cpu, step)

    def bind(self, cpu: Cpu, step: Step) -> None:
        free = [cookie for cookie in range(1, 40) if cookie not in self.bound]
        if not free:
            return
        step.cookie = self.random.choice(free)
        self.emit(BIND, cpu, tid=cpu.task, one=step.id, other=step.cookie)
        self.bound[step.cookie] = step

    def end(self, cpu: Cpu) -> None:
        thread = self.threads[cpu.task]
        if not thread.steps:
            return
        step = self.random.choice((thread.steps[-1], self.random.choice(thread.steps)))
        self.emit(END, cpu, tid=cpu.task, one=step.id)
        for later in thread.steps:
            if later.begin > step.begin:
                later.interleaved = step.interleaved = True
        thread.steps.remove(step)
        self.bound.pop(step.cookie, None)
        self.expected.append(record(thread, step, self.now))
        if not thread.steps:
            thread.waits = []


_Act = Callable[[World, Cpu], None]
_Table = tuple[tuple[_Act, ...], list[int]]


def _table(*pairs: tuple[int, _Act]) -> _Table:
    sums, total = [], 0
    for weight, _ in pairs:
        total += weight
        sums.append(total)
    return tuple(act for _, act in pairs), sums


_IN_HARDIRQ = _table(
    (4, World.hardirq_exit),
    (2, World.raise_softirq),
    (2, World.wake),
    (1, World.complete),
    (1, World.hardirq),
)
_IN_SOFTIRQ = _table(
    (4, World.softirq_exit),
    (2, World.hardirq),
    (1, World.raise_softirq),
    (2, World.wake),
    (2, World.complete),
    (1, World.preempt_softirq),
)
_BETWEEN = _table((4, World.softirq), (1, World.hardirq))
_IN_TASK = _table(
    (3, World.block),
    (1, World.preempt),
    (2, World.hardirq),
    (1, World.raise_softirq),
    (4, World.start_round),
    (2, World.wake),
    (1, World.complete),
)
_IN_THREAD = _table(
    (6, World.block),
    (2, World.preempt),
    (3, World.hardirq),
    (1, World.raise_softirq),
    (4, World.start_round),
    (3, World.wake),
    (1, World.complete),
    (2, World.change_mode),
    (6, World.begin),
    (6, World.end),
    (1, World.wake_running),
)
_IDLE = _table((4, World.run_next), (2, World.hardirq), (3, World.start_round))
