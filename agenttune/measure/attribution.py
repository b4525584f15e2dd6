# SPDX-License-Identifier: GPL-2.0-only
"""Attribution: raw samples of steps as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agenttune.host.host import Host
from agenttune.measure import steps_layout as raw
from agenttune.measure.layout import ARCH_NAMES, SOFTIRQ_NAMES
from agenttune.measure.trace import (
    Chain,
    CompletionKind,
    Holder,
    ObjectKind,
    Ready,
    Step,
    StepKind,
    Thief,
    VectorName,
    Wait,
)

_KINDS = tuple(StepKind)
_COMPLETIONS = tuple(CompletionKind)
_OBJECTS = tuple(ObjectKind)


def steps(groups: Iterable[Sequence[bytes]]) -> tuple[Step, ...]:
    """One step for each group: its sample, then those of its waits. By time of begin."""
    made = (step(group[0], group[1:]) for group in groups)
    return tuple(sorted(made, key=lambda each: (each.begin_ns, each.tid, each.id)))


def step(sample: bytes, wait_samples: Iterable[bytes]) -> Step:
    record = raw.StepSample.from_buffer_copy(sample).step
    counts, flags = record.counts, record.flags
    interleaved = bool(flags & raw.STEP_INTERLEAVED)
    is_ready = bool(flags & raw.STEP_READY)
    found = (wait(raw.WaitSample.from_buffer_copy(each).wait) for each in wait_samples)
    return Step(
        id=record.id,
        tgid=record.tgid,
        tid=record.tid,
        comm=_text(record.comm),
        name=_text(record.name),
        kind=_KINDS[record.kind],
        begin_ns=record.begin_ns,
        end_ns=record.end_ns,
        deadline_ns=record.deadline_ns or None,
        budget_us=record.budget_us or None,
        cpu=record.cpu,
        buckets_ns=tuple(record.buckets_ns),
        nr_waits=counts.waits,
        preemptions=counts.preemptions,
        migrations=counts.migrations,
        faults=counts.faults,
        coalesced=counts.coalesced,
        unattributed=counts.unattributed,
        overlapped=bool(flags & raw.STEP_OVERLAPPED),
        interleaved=interleaved,
        ambiguous=interleaved and not is_ready,
        stolen_softirq=_thief(record.stolen_softirq),
        stolen_hardirq=_thief(record.stolen_hardirq),
        ready=_ready(record.ready) if is_ready else None,
        waits=tuple(sorted(found, key=lambda each: each.out_ns)),
    )


def wait(found: raw.BpfWait) -> Wait:
    flags = found.flags
    blocked = bool(flags & raw.WAIT_BLOCKED)
    woken = blocked and not flags & raw.WAIT_NO_WAKING
    by_task = woken and bool(found.waker)
    # A missed waking left its wakeup only: at_thread_wakeup() in bpf/thread.h.
    waker_seen = by_task or (woken and bool(found.chain.cause.flags))
    return Wait(
        out_ns=found.out_ns,
        waking_ns=found.waking_ns or None,
        wakeup_ns=found.wakeup_ns or None,
        in_ns=found.in_ns,
        out_cpu=found.out_cpu,
        queue_cpu=found.queue_cpu,
        in_cpu=found.in_cpu,
        blocked=blocked,
        throttled=bool(flags & raw.WAIT_THROTTLED),
        migrated=bool(flags & raw.WAIT_MIGRATED),
        in_fault=bool(flags & raw.WAIT_FAULT),
        in_io=bool(flags & raw.WAIT_IO),
        waking_seen=woken,
        chain=chain(found.chain) if woken else None,
        waker=found.waker if by_task else None,
        waker_comm=_text(found.waker_comm) if by_task else "",
        waker_cpu=found.waker_cpu if waker_seen else None,
        holder=_holder(found),
        syscall=found.syscall if found.syscall >= 0 else None,
        object_kind=_OBJECTS[found.object_kind],
        object=found.object,
        like_ns=found.like_ns,
        like_waits=found.like_waits,
    )


def chain(found: raw.Chain) -> Chain:
    cause, done = found.cause, found.done
    from_irq = bool(cause.flags & raw.CAUSE_IRQ)
    irq, arch = _interrupt(cause.irq) if from_irq else (None, None)
    completed = bool(done.kind)
    return Chain(
        irq=irq,
        arch=arch,
        irq_cpu=cause.irq_cpu if from_irq else None,
        irq_ns=cause.irq_ns or None,
        raise_ns=cause.raise_ns or None,
        entry_ns=cause.entry_ns or None,
        thread_ns=cause.thread_ns or None,
        softirq=_softirq(found.vector),
        cpu=found.cpu,
        origin=cause.origin if cause.flags & raw.CAUSE_TASK else None,
        conduit=cause.conduit if cause.flags & raw.CAUSE_THREAD else None,
        shared=bool(cause.flags & raw.CAUSE_SHARED),
        ksoftirqd=bool(cause.flags & raw.CAUSE_KSOFTIRQD),
        hidden_irq=bool(cause.flags & raw.CAUSE_HIDDEN_IRQ),
        completion=_COMPLETIONS[done.kind],
        done_ns=done.done_ns if completed else None,
        subject=done.subject if completed else 0,
        latency_ns=done.latency_ns if completed else 0,
        bytes=done.bytes if completed else 0,
    )


def names(found: Iterable[Step], proc: Path = Path("/proc")) -> tuple[tuple[int, str], ...]:
    """The comm of each thread that the steps' chains mention and that still lives."""
    tids = {tid for each in found for tid in _mentioned(each)}
    return tuple((tid, comm) for tid in sorted(tids) if (comm := _comm(proc / str(tid))))


def vectors(host: Host) -> tuple[VectorName, ...]:
    return tuple(
        VectorName(
            vector.irq,
            vector.key.device or None,
            vector.key.action,
            str(vector.effective or vector.affinity or ""),
        )
        for vector in host.vectors
    )


def _holder(found: raw.BpfWait) -> Holder:
    held = found.holder
    stayed = found.queue_cpu == found.in_cpu
    has_task = bool(held.tid)
    return Holder(
        cpu=held.cpu,
        tid=held.tid if has_task else None,
        comm=_text(held.comm) if has_task else "",
        held_ns=held.held_ns,
        seen_ns=held.seen_ns,
        idle_ns=held.idle_ns,
        softirq_ns=found.softirq_ns if stayed else None,
        hardirq_ns=found.hardirq_ns if stayed else None,
        softirq_thief=_thief(held.softirq) if has_task else None,
        hardirq_thief=_thief(held.hardirq) if has_task else None,
    )


def _thief(votes: raw.Majority) -> Thief | None:
    if not votes.weight_ns:
        return None
    return Thief(*_interrupt(votes.irq), _softirq(votes.vector))


def _ready(found: raw.BpfReady) -> Ready:
    return Ready(found.cookie, found.ready_ns, found.count, chain(found.chain))


def _interrupt(number: int) -> tuple[int | None, str | None]:
    """Its IRQ number, or the row of /proc/interrupts that counts it."""
    if number == raw.NO_IRQ:
        return None, None
    if number < raw.ARCH_ID:
        return number, None
    return None, ARCH_NAMES[number - raw.ARCH_ID]


def _softirq(vector: int) -> str | None:
    return SOFTIRQ_NAMES[vector - 1] if vector else None


def _mentioned(found: Step) -> Iterator[int]:
    chains = [each.chain for each in found.waits]
    chains.append(found.ready.chain if found.ready else None)
    for each in chains:
        if each:
            yield from (tid for tid in (each.origin, each.conduit) if tid)


def _comm(thread: Path) -> str:
    try:
        return (thread / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def _text(found: Any) -> str:
    return bytes(found).decode(errors="replace")
