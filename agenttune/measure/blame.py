# SPDX-License-Identifier: GPL-2.0-only
"""Blame: whom one leg of a wait is charged to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from agenttune.measure.cause import Cause
from agenttune.measure.legs import RUNNABLE, Leg
from agenttune.measure.syscalls import object_of
from agenttune.measure.trace import (
    Bucket,
    Chain,
    CompletionKind,
    Holder,
    ObjectKind,
    Step,
    Thief,
    Trace,
    Wait,
)

_IRQ_THREAD = re.compile(r"irq/(\d+)-")
_TIMER_SOFTIRQS = ("TIMER", "HRTIMER")


@dataclass(frozen=True, slots=True)
class Blame:
    """Who it was, as far as known. `subject` is the completion's: a disk or a socket."""

    cause: Cause
    comm: str | None = None
    tid: int | None = None
    irq: int | None = None
    arch: str | None = None
    softirq: str | None = None
    cpu: int | None = None
    subject: int | None = None


def blame_leg(leg: Leg, wait: Wait, trace: Trace) -> Blame:
    """Whom this leg of a kept wait is charged to."""
    if leg.bucket in RUNNABLE:
        return _runnable(leg, wait)
    if leg.bucket is Bucket.WAKE_IPI:
        return Blame(Cause.IPI, cpu=wait.queue_cpu)
    if leg.bucket is Bucket.EXTERNAL:
        return _external(wait, trace)
    if leg.bucket is Bucket.UNSEEN or wait.chain is None:
        return Blame(Cause.UNKNOWN)
    found = blame_chain(leg.bucket, wait.chain, trace)
    if found.tid is not None and found.tid == wait.waker and not found.comm:
        found = replace(found, comm=wait.waker_comm or None)
    return found


def blame_chain(bucket: Bucket, chain: Chain, trace: Trace) -> Blame:
    """Whom the interrupt's own part of a completion is charged to."""
    if bucket is Bucket.CHAIN_HARDIRQ:
        return Blame(Cause.HARDIRQ, irq=chain.irq, arch=chain.arch, cpu=chain.irq_cpu)
    if bucket is Bucket.CHAIN_THREAD:
        comm = dict(trace.names).get(chain.conduit or 0)
        cause = Cause.IRQ_THREAD if _is_irq_thread(comm or "") else Cause.TASK
        return Blame(cause, comm, chain.conduit, chain.irq, chain.arch, cpu=chain.cpu)
    if bucket is Bucket.EXTERNAL:
        return _peer(chain, *_origin(chain, None, "", trace))
    cause = Cause.KSOFTIRQD if chain.ksoftirqd else Cause.SOFTIRQ
    comm = f"ksoftirqd/{chain.cpu}" if chain.ksoftirqd else None
    return Blame(cause, comm, None, chain.irq, chain.arch, chain.softirq, chain.cpu)


def blame_rest(bucket: Bucket, step: Step) -> Blame:
    """Whom time is charged to that no kept wait tells of."""
    if bucket is Bucket.STOLEN_HARDIRQ:
        return _thief(Cause.HARDIRQ, step.stolen_hardirq)
    if bucket is Bucket.STOLEN_SOFTIRQ:
        return _thief(Cause.SOFTIRQ, step.stolen_softirq)
    return Blame(_RESTS.get(bucket, Cause.UNKNOWN))


_RESTS = {
    Bucket.RUN: Cause.COMPUTE,
    Bucket.SYSCALL: Cause.COMPUTE,
    Bucket.FAULT: Cause.FAULT,
    Bucket.WAKE_IPI: Cause.IPI,
    Bucket.RUN_QUEUE: Cause.RUN_QUEUE,
    Bucket.PREEMPTED: Cause.PREEMPTED,
    Bucket.THROTTLED: Cause.THROTTLED,
    Bucket.CHAIN_HARDIRQ: Cause.HARDIRQ,
    Bucket.CHAIN_PENDING: Cause.SOFTIRQ,
    Bucket.CHAIN_SOFTIRQ: Cause.SOFTIRQ,
    Bucket.CHAIN_THREAD: Cause.IRQ_THREAD,
    Bucket.EVENT_LOOP: Cause.EVENT_LOOP,
}


def _runnable(leg: Leg, wait: Wait) -> Blame:
    held = wait.holder
    named = _held_most(held, leg.ns)
    comm, tid = (held.comm, held.tid) if named else (None, None)
    if leg.bucket is Bucket.THROTTLED:
        return Blame(Cause.THROTTLED, cpu=wait.queue_cpu)
    if wait.queue_cpu != wait.in_cpu:
        return Blame(Cause.MIGRATION, comm, tid, cpu=wait.queue_cpu)
    interrupts_ns = min((held.softirq_ns or 0) + (held.hardirq_ns or 0), leg.ns)
    if named and held.comm.startswith("ksoftirqd/") and 2 * held.held_ns >= interrupts_ns:
        found = _thief(Cause.KSOFTIRQD, held.softirq_thief, wait.queue_cpu)
        return Blame(found.cause, comm, tid, found.irq, found.arch, found.softirq, found.cpu)
    if interrupts_ns > _own_ns(held, leg.ns, interrupts_ns):
        return _interrupts(held, wait.queue_cpu)
    if held.idle_ns > held.held_ns:
        # A CPU does not idle beside a runnable thread that it may run.
        cause = Cause.IPI if wait.blocked else Cause.THROTTLED
        return Blame(cause, cpu=wait.queue_cpu)
    if named and _is_irq_thread(held.comm):
        irq = _IRQ_THREAD.match(held.comm)
        number = int(irq[1]) if irq else None
        return Blame(Cause.IRQ_THREAD, comm, tid, number, cpu=wait.queue_cpu)
    cause = Cause.RUN_QUEUE if leg.bucket is Bucket.RUN_QUEUE else Cause.PREEMPTED
    return Blame(cause, comm, tid, cpu=wait.queue_cpu)


def _held_most(held: Holder, window_ns: int) -> bool:
    """No task in the unseen part of the window can have held the CPU for longer."""
    return held.tid is not None and held.held_ns > max(0, window_ns - held.seen_ns)


def _own_ns(held: Holder, window_ns: int, interrupts_ns: int) -> int:
    """The most that any one task (or idling) can have had, without the interrupts."""
    unseen_ns = window_ns - held.seen_ns
    return max(held.held_ns - interrupts_ns, held.idle_ns - interrupts_ns, unseen_ns, 0)


def _interrupts(held: Holder, cpu: int) -> Blame:
    if (held.softirq_ns or 0) >= (held.hardirq_ns or 0):
        return _thief(Cause.SOFTIRQ, held.softirq_thief, cpu)
    return _thief(Cause.HARDIRQ, held.hardirq_thief, cpu)


def _thief(cause: Cause, thief: Thief | None, cpu: int | None = None) -> Blame:
    if thief is None:
        return Blame(cause, cpu=cpu)
    return Blame(cause, irq=thief.irq, arch=thief.arch, softirq=thief.softirq, cpu=cpu)


def _external(wait: Wait, trace: Trace) -> Blame:
    chain = wait.chain
    cause = _external_cause(wait, trace)
    comm, tid = _origin(chain, wait.waker, wait.waker_comm, trace)
    if chain and chain.completion is CompletionKind.BLOCK and cause in (Cause.DISK, Cause.FAULT):
        return Blame(cause, irq=chain.irq, cpu=chain.cpu, subject=chain.subject)
    if cause is Cause.PEER and chain:
        return _peer(chain, comm, tid)
    if cause in (Cause.TIMER, Cause.DISK):
        comm = tid = None
    if cause is Cause.UNKNOWN and chain:
        return Blame(cause, irq=chain.irq, arch=chain.arch, softirq=chain.softirq, cpu=chain.cpu)
    return Blame(cause, comm, tid, cpu=wait.waker_cpu if comm else None)


def _external_cause(wait: Wait, trace: Trace) -> Cause:
    if wait.in_fault:
        return Cause.FAULT
    kind = wait.object_kind
    if kind is ObjectKind.NONE:
        kind = object_of(wait.syscall, trace.machine)
    if kind is ObjectKind.CHILD:
        return Cause.CHILD
    if kind is ObjectKind.TIMER or _is_timeout(wait.chain):
        return Cause.TIMER
    if kind in (ObjectKind.FUTEX, ObjectKind.PIPE):
        return Cause.FUTEX if kind is ObjectKind.FUTEX else Cause.PIPE
    done = wait.chain.completion if wait.chain else CompletionKind.NONE
    if done in _COMPLETIONS:
        return _COMPLETIONS[done]
    return _cause_by_waker(kind, wait)


_COMPLETIONS = {
    CompletionKind.BLOCK: Cause.DISK,
    CompletionKind.SOCKET: Cause.PEER,
    CompletionKind.URING: Cause.URING,
}


def _cause_by_waker(kind: ObjectKind, wait: Wait) -> Cause:
    softirq = wait.chain.softirq if wait.chain else None
    if kind is ObjectKind.SOCKET:
        return Cause.PEER
    if kind is ObjectKind.URING:
        return Cause.URING
    if wait.in_io or softirq == "BLOCK":
        return Cause.DISK
    if softirq == "NET_RX":
        return Cause.PEER
    if wait.waker_comm and not from_interrupt(wait.chain):
        return Cause.TASK
    return Cause.UNKNOWN


def _is_timeout(chain: Chain | None) -> bool:
    """A timer's own interrupt did the waking, and brought nothing else."""
    if chain is None or chain.completion not in (CompletionKind.NONE, CompletionKind.TIMER):
        return False
    if chain.conduit is not None:
        return False
    local_timer = chain.arch == "LOC" and chain.softirq is None
    return (
        chain.completion is CompletionKind.TIMER or chain.softirq in _TIMER_SOFTIRQS or local_timer
    )


def from_interrupt(chain: Chain | None) -> bool:
    """An interrupt or softirq did the waking, whatever task it interrupted."""
    if chain is None:
        return False
    by_number = chain.irq is not None or chain.arch is not None
    return by_number or chain.softirq is not None or chain.hidden_irq


def _origin(
    chain: Chain | None, waker: int | None, waker_comm: str, trace: Trace
) -> tuple[str | None, int | None]:
    """The task that brought the completion, if it was one: its comm where known, and its tid."""
    if not from_interrupt(chain) and (chain is None or chain.conduit is None):
        return waker_comm or None, waker
    if chain is None or chain.origin is None:
        return None, None
    known = waker_comm if chain.origin == waker else ""
    return known or dict(trace.names).get(chain.origin), chain.origin


def _peer(chain: Chain, comm: str | None, tid: int | None) -> Blame:
    bound = chain.subject if chain.completion is CompletionKind.SOCKET else None
    return Blame(Cause.PEER, comm, tid, chain.irq, chain.arch, chain.softirq, chain.cpu, bound)


def _is_irq_thread(comm: str) -> bool:
    return comm.startswith(("irq/", "napi/"))
