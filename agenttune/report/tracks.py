# SPDX-License-Identifier: GPL-2.0-only
"""Tracks: what a trace's steps did on each CPU, as slices of time.

For the Perfetto export and the picture: both draw the same slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agenttune.measure.culprit import split_by_ready
from agenttune.measure.legs import RUNNABLE, wait_legs
from agenttune.measure.trace import Bucket, Chain, Step, Trace, Wait
from agenttune.report.names import conduit, printable, raised, source, task


class Track(StrEnum):
    """What kind of thing holds a CPU."""

    HARDIRQ = "hardirq"
    SOFTIRQ = "softirq"
    TASK = "task"


class Look(StrEnum):
    """What a slice shows."""

    OWN = "own"  # the step's thread ran
    MIXED = "mixed"  # it ran, but for waits that were not kept
    HELD = "held"  # another task, while it could have run
    IDLE = "idle"
    INTERRUPT = "interrupt"  # or the kernel thread that carried it on


@dataclass(frozen=True, slots=True)
class Slice:
    """[begin_ns, end_ns) on one CPU."""

    track: Track
    cpu: int
    begin_ns: int
    end_ns: int
    name: str
    look: Look


@dataclass(frozen=True, slots=True)
class Hop:
    """One frame of a chain: its slice's track, CPU, begin and end. A switch-in ends at once."""

    track: Track
    cpu: int
    ns: int
    end_ns: int


def step_slices(step: Step, trace: Trace) -> tuple[Slice, ...]:
    """What a step tells of the CPUs, and when its thread ran; none of them empty.

    Of a step that its own socket tells apart, the interrupts are those of that socket.
    """
    found = [*_running(step)]
    for wait in step.waits:
        found += _held(wait)
    for chain, end_ns in _chains(step):
        found += _interrupts(chain, end_ns, trace)
    return tuple(each for each in found if each.end_ns > each.begin_ns)


def step_flows(step: Step) -> tuple[tuple[Hop, ...], ...]:
    """Each chain that the step tells of, to the switch-in where it ended a wait."""
    if step.ready and split_by_ready(step):
        return (_hops(step.ready.chain, step.ready.ready_ns),)
    return tuple(wait_hops(wait) for wait in step.waits)


def wait_hops(wait: Wait) -> tuple[Hop, ...]:
    """From the interrupt to the switch-in; each but an empty one has its slice in step_slices()."""
    switch_in = Hop(Track.TASK, wait.in_cpu, wait.in_ns, wait.in_ns)
    if wait.chain is None or wait.waking_ns is None:
        return (switch_in,)
    return (*_hops(wait.chain, wait.waking_ns), switch_in)


def _hops(chain: Chain, end_ns: int) -> tuple[Hop, ...]:
    frames = sorted(_frames(chain, end_ns), key=lambda frame: frame[2])
    return tuple(Hop(*frame) for frame in frames if frame[3] > frame[2])


def _chains(step: Step) -> Iterator[tuple[Chain, int]]:
    """The chains with their ends."""
    if step.ready and split_by_ready(step):
        yield step.ready.chain, step.ready.ready_ns
        return
    for wait in step.waits:
        if wait.chain and wait.waking_ns is not None:
            yield wait.chain, wait.waking_ns


def _frames(chain: Chain, waking_ns: int) -> Iterator[tuple[Track, int, int, int]]:
    """What carried a chain: track, CPU, begin, and the next one's begin as the end."""
    begins = (chain.raise_ns, chain.entry_ns, chain.thread_ns)

    def end_of(begin_ns: int) -> int:
        return min((ns for ns in begins if ns is not None and ns > begin_ns), default=waking_ns)

    if chain.irq_ns is not None and chain.irq_cpu is not None:
        yield Track.HARDIRQ, chain.irq_cpu, chain.irq_ns, end_of(chain.irq_ns)
    if chain.entry_ns is not None and (cpu := softirq_cpu(chain)) is not None:
        yield Track.SOFTIRQ, cpu, chain.entry_ns, end_of(chain.entry_ns)
    if chain.thread_ns is not None:
        yield Track.TASK, chain.cpu, chain.thread_ns, end_of(chain.thread_ns)


def softirq_cpu(chain: Chain) -> int | None:
    """A softirq runs where it was raised; None where only a kernel thread's CPU is known."""
    return chain.irq_cpu if chain.irq_cpu is not None or chain.thread_ns else chain.cpu


def _interrupts(chain: Chain, end_ns: int, trace: Trace) -> Iterator[Slice]:
    names = {
        Track.HARDIRQ: source(chain.irq, chain.arch, trace) or "interrupt without a tracepoint",
        Track.SOFTIRQ: raised(chain.softirq, chain.irq, chain.arch, trace),
        Track.TASK: conduit(chain, trace),
    }
    for track, cpu, begin_ns, frame_end_ns in _frames(chain, end_ns):
        yield Slice(track, cpu, begin_ns, frame_end_ns, names[track], Look.INTERRUPT)


def _held(wait: Wait) -> Iterator[Slice]:
    """Who held the CPU while the thread could have run; the longest of them, as far as seen."""
    for leg in wait_legs(wait):
        if leg.bucket in RUNNABLE:
            name, look = _holder(wait, leg.bucket)
            yield Slice(Track.TASK, wait.queue_cpu, leg.begin_ns, leg.end_ns, name, look)


def _holder(wait: Wait, bucket: Bucket) -> tuple[str, Look]:
    if bucket is Bucket.THROTTLED:
        return "throttled", Look.HELD
    held = wait.holder
    if held.idle_ns > held.held_ns:
        return "idle", Look.IDLE
    return task(held.comm, held.tid) or "a task not known", Look.HELD


def _running(step: Step) -> Iterator[Slice]:
    """The thread's turns between its kept waits, which may hold waits that were not kept."""
    mixed = step.nr_waits > len(step.waits)
    name = f"{printable(step.comm)} ({step.tid})" + (" and short waits" if mixed else "")
    look = Look.MIXED if mixed else Look.OWN
    begin_ns, cpu = step.begin_ns, None
    for wait in sorted(step.waits, key=lambda each: each.out_ns):
        yield Slice(Track.TASK, wait.out_cpu, begin_ns, wait.out_ns, name, look)
        begin_ns, cpu = max(begin_ns, wait.in_ns), wait.in_cpu
    yield Slice(Track.TASK, step.cpu if cpu is None else cpu, begin_ns, step.end_ns, name, look)
