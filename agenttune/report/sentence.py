# SPDX-License-Identifier: GPL-2.0-only
"""Sentence: a culprit in words that are true and no more than known."""

from __future__ import annotations

from agenttune.measure.culprit import Cause, Culprit
from agenttune.measure.legs import RUNNABLE
from agenttune.measure.syscalls import syscall_name
from agenttune.measure.trace import Bucket, Trace
from agenttune.report.names import disk, raised, source, task
from agenttune.report.units import duration

_KEPT = "in waits too short to be kept"


def phrase(found: Culprit, trace: Trace) -> str:
    """What the time went to: 'waiting for CPU 3, held by hog (tid 500)'."""
    text = _phrase(found, trace)
    return f"{text}, in {found.waits} waits" if found.waits > 1 else text


def _phrase(found: Culprit, trace: Trace) -> str:
    match found.cause:
        case Cause.RUN_QUEUE | Cause.MIGRATION:
            return f"waiting for {_cpu(found)}, {_held(found)}{_moved(found)}"
        case Cause.PREEMPTED:
            return f"preempted on {_cpu(found)}, {_held(found)}"
        case Cause.THROTTLED:
            return _throttled(found)
        case Cause.SOFTIRQ:
            what = raised(found.softirq, found.irq, found.arch, trace)
            return _interrupted(found, what)
        case Cause.KSOFTIRQD:
            return _ksoftirqd(found, trace)
        case Cause.HARDIRQ:
            by = source(found.irq, found.arch, trace)
            return _interrupted(found, f"the handler of {by}" if by else "interrupt handlers")
        case Cause.IRQ_THREAD:
            return _irq_thread(found)
        case Cause.IPI:
            return _ipi(found)
        case Cause.COMPUTE:
            return _compute(found, trace)
        case Cause.EVENT_LOOP:
            return "with its reply there, while the thread was busy with other steps"
    return _waited(found, trace)


def _waited(found: Culprit, trace: Trace) -> str:
    who = task(found.comm, found.tid)
    match found.cause:
        case Cause.DISK:
            return f"waiting for {_disk(found)}"
        case Cause.FAULT:
            return _fault(found, who)
        case Cause.PEER:
            return f"waiting for its socket's peer{_peer(found, who, trace)}"
        case Cause.CHILD:
            return f"waiting for a child process, {who or 'which is not known'}"
        case Cause.FUTEX:
            return f"waiting for a futex, released by {who or 'a task not known'}"
        case Cause.PIPE:
            return f"waiting for a pipe's other end, {who or 'which is not known'}"
        case Cause.TIMER:
            return f"asleep until a timer fired{_call(found, trace)}"
        case Cause.URING:
            return f"waiting for io_uring{f', completed by {who}' if who else ''}"
        case Cause.TASK if found.bucket is Bucket.CHAIN_THREAD:
            return f"waiting for {who or 'a kernel thread'} to carry the completion on"
        case Cause.TASK:
            return f"blocked{_call(found, trace)} until {who} woke it; why is not known"
    return _unknown(found, trace)


def _cpu(found: Culprit) -> str:
    return "a CPU" if found.cpu is None else f"CPU {found.cpu}"


def _held(found: Culprit) -> str:
    who = task(found.comm, found.tid)
    if who is None:
        return (
            "by whom it was held is not known" if found.wait else f"{_KEPT}; by whom is not known"
        )
    held = found.wait.holder if found.wait else None
    text = f"held by {who}"
    if held and found.waits == 1 and 10 * held.held_ns < 9 * found.ns:
        text += f" for {duration(held.held_ns)} of it, longer than by any other"
    return text


def _moved(found: Culprit) -> str:
    if found.cause is not Cause.MIGRATION or not found.wait:
        return ""
    return f", until it was moved to CPU {found.wait.in_cpu}"


def _throttled(found: Culprit) -> str:
    if found.wait and not found.wait.throttled:
        return (
            f"runnable while {_cpu(found)} idled, as under a cgroup's cpu.max "
            "(the throttling itself was not seen)"
        )
    return "throttled: its cgroup had used up its cpu.max"


def _interrupted(found: Culprit, what: str) -> str:
    if found.bucket in RUNNABLE:
        return f"waiting for {_cpu(found)}, taken by {what}"
    if found.bucket in (Bucket.STOLEN_HARDIRQ, Bucket.STOLEN_SOFTIRQ):
        return f"stolen while it ran, by {what}"
    if found.bucket is Bucket.CHAIN_PENDING:
        return f"waiting for {what} to begin on {_cpu(found)}"
    return f"waiting for {what} on {_cpu(found)} to get to its waking"


def _ksoftirqd(found: Culprit, trace: Trace) -> str:
    what = raised(found.softirq, found.irq, found.arch, trace)
    if found.bucket in RUNNABLE:
        return f"waiting for {_cpu(found)}, held by {task(found.comm, None)} running {what}"
    verb = "begin" if found.bucket is Bucket.CHAIN_PENDING else "finish"
    return f"waiting for {task(found.comm, None)} to {verb} {what}"


def _irq_thread(found: Culprit) -> str:
    who = task(found.comm, found.tid) or "an interrupt thread"
    if found.bucket in RUNNABLE:
        return f"waiting for {_cpu(found)}, held by {who}"
    return f"waiting for {who} to carry the completion on"


def _ipi(found: Culprit) -> str:
    if found.bucket is Bucket.WAKE_IPI:
        return f"between its waking and its arrival on {_cpu(found)}'s run queue"
    return f"waiting for {_cpu(found)} to leave idle"


def _compute(found: Culprit, trace: Trace) -> str:
    if not trace.syscalls:
        return "on the CPU, in its own code and system calls"
    where = "system calls" if found.bucket is Bucket.SYSCALL else "its own code"
    return f"on the CPU, mostly in {where}"


def _disk(found: Culprit) -> str:
    if found.subject is None:
        return "storage; which device is not known"
    chain = found.wait.chain if found.wait else None
    if chain is None or not chain.latency_ns or found.waits > 1:
        return disk(found.subject)
    return (
        f"{disk(found.subject)} (a request of {chain.bytes} bytes took "
        f"{duration(chain.latency_ns)})"
    )


def _fault(found: Culprit, who: str | None) -> str:
    if found.wait is None:
        return "handling page faults on the CPU"
    if found.subject is not None:
        return f"blocked in page faults until {_disk(found)} delivered"
    return f"blocked in page faults, ended by {who or 'what is not known'}"


def _peer(found: Culprit, who: str | None, trace: Trace) -> str:
    if who:
        return f", {who} on this host"
    by = source(found.irq, found.arch, trace)
    return f", whose reply came through {by}" if by else "; which is not known"


def _call(found: Culprit, trace: Trace) -> str:
    name = syscall_name(found.wait.syscall, trace.machine) if found.wait else None
    return f" in {name}" if name else ""


def _unknown(found: Culprit, trace: Trace) -> str:
    if found.wait is None and found.bucket is Bucket.EXTERNAL:
        return f"blocked {_KEPT}"
    if found.bucket is not Bucket.EXTERNAL:
        return "not accounted for: the events that would tell were not seen"
    by = source(found.irq, found.arch, trace)
    woken = f", woken by {by}" if by else ""
    return f"blocked{_call(found, trace)}{woken}; on what is not known"
