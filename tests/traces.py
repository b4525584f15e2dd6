# SPDX-License-Identifier: GPL-2.0-only
"""Traces for tests: by hand, and by hypothesis with buckets that add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Coverage
from agenttune.measure.trace import (
    LEGS,
    Bucket,
    Chain,
    CompletionKind,
    Holder,
    KindFigures,
    LegFigures,
    ObjectKind,
    Ready,
    Step,
    StepCoverage,
    StepKind,
    Thief,
    Trace,
    VectorName,
    Wait,
)

# The window begins here, in ns of CLOCK_MONOTONIC; the first step a second later.
WINDOW_NS = 5_000_000_000_000
BEGIN_NS = WINDOW_NS + 1_000_000_000

US = 1_000
MS = 1_000_000


def chain(**fields: object) -> Chain:
    """NET_RX of IRQ 45 on CPU 3, with no times unless `fields` give some."""
    base = Chain(
        irq=45,
        arch=None,
        irq_cpu=3,
        irq_ns=None,
        raise_ns=None,
        entry_ns=None,
        thread_ns=None,
        softirq="NET_RX",
        cpu=3,
        origin=None,
        conduit=None,
        shared=False,
        ksoftirqd=False,
        hidden_irq=False,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def task_chain(**fields: object) -> Chain:
    """A task in process context did the waking."""
    return chain(irq=None, irq_cpu=None, softirq=None, origin=900, **fields)


def holder(comm: str = "", held_ns: int = 0, **fields: object) -> Holder:
    """A task `comm` (tid 500) on CPU 3, or nobody."""
    base = Holder(
        cpu=3,
        tid=500 if comm else None,
        comm=comm,
        held_ns=held_ns,
        seen_ns=held_ns,
        idle_ns=0,
        softirq_ns=0,
        hardirq_ns=0,
        softirq_thief=None,
        hardirq_thief=None,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def wait(out_ns: int, in_ns: int, waking_ns: int | None = None, **fields: object) -> Wait:
    """A wait on CPU 3, in ns since BEGIN_NS. With `waking_ns` it blocked, else it was preempted.

    `fields` take absolute times.
    """
    woken_ns = None if waking_ns is None else BEGIN_NS + waking_ns
    base = Wait(
        out_ns=BEGIN_NS + out_ns,
        waking_ns=woken_ns,
        wakeup_ns=woken_ns,
        in_ns=BEGIN_NS + in_ns,
        out_cpu=3,
        queue_cpu=3,
        in_cpu=3,
        blocked=woken_ns is not None,
        throttled=False,
        migrated=False,
        in_fault=False,
        in_io=False,
        waking_seen=True,
        chain=None if woken_ns is None else task_chain(),
        waker=None if woken_ns is None else 900,
        waker_comm="" if woken_ns is None else "waker",
        waker_cpu=None if woken_ns is None else 2,
        holder=holder(),
        syscall=None,
        object_kind=ObjectKind.NONE,
        object=0,
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def charged(waits: Iterable[Wait]) -> dict[Bucket, int]:
    """What bpf/thread.h, at_charge_wait() puts in which bucket, point by point."""
    totals = dict.fromkeys(Bucket, 0)
    for each in waits:
        runnable = Bucket.THROTTLED if each.throttled else Bucket.PREEMPTED
        if each.blocked and not each.waking_seen:
            totals[Bucket.UNSEEN] += each.in_ns - each.out_ns
        elif not each.blocked:
            totals[runnable] += each.in_ns - each.out_ns
        else:
            assert each.waking_ns is not None
            queued_ns = each.wakeup_ns or each.waking_ns
            queue = Bucket.THROTTLED if each.throttled else Bucket.RUN_QUEUE
            totals[Bucket.WAKE_IPI] += queued_ns - each.waking_ns
            totals[queue] += each.in_ns - queued_ns
            for bucket, ns in _blocked(each, each.waking_ns):
                totals[bucket] += ns
    return totals


def _blocked(each: Wait, end_ns: int) -> Iterable[tuple[Bucket, int]]:
    found = each.chain
    points = [(each.out_ns, Bucket.EXTERNAL)]
    if found:
        legs = (
            (found.irq_ns, Bucket.CHAIN_HARDIRQ),
            (found.raise_ns, Bucket.CHAIN_PENDING),
            (found.entry_ns, Bucket.CHAIN_SOFTIRQ),
            (found.thread_ns, Bucket.CHAIN_THREAD),
        )
        points += sorted(((ns, bucket) for ns, bucket in legs if ns), key=lambda leg: leg[0])
    for (start, bucket), stop in zip(points, [*(ns for ns, _ in points[1:]), end_ns], strict=True):
        yield bucket, max(0, min(stop, end_ns) - max(start, each.out_ns))


def step(
    duration_ns: int,
    waits: Sequence[Wait] = (),
    buckets: dict[Bucket, int] | None = None,
    **fields: object,
) -> Step:
    """Step 4711 'search' of agent, tid 77; its time is in `waits`, `buckets`, and run for the rest.

    `buckets` comes on top of what the waits charge: time that no kept wait tells of.
    """
    totals = charged(waits)
    for bucket, ns in (buckets or {}).items():
        totals[bucket] += ns
    rest_ns = duration_ns - sum(totals.values())
    assert rest_ns >= 0, f"the waits take {-rest_ns} ns more than the step"
    totals[Bucket.RUN] += rest_ns
    base = Step(
        id=4711,
        tgid=70,
        tid=77,
        comm="agent",
        name="search",
        kind=StepKind.TOOL,
        begin_ns=BEGIN_NS,
        end_ns=BEGIN_NS + duration_ns,
        deadline_ns=None,
        budget_us=None,
        cpu=3,
        buckets_ns=tuple(totals[bucket] for bucket in Bucket),
        nr_waits=len(waits),
        preemptions=sum(not each.blocked for each in waits),
        migrations=sum(each.migrated for each in waits),
        faults=0,
        coalesced=0,
        unattributed=0,
        overlapped=False,
        interleaved=False,
        ambiguous=False,
        stolen_softirq=None,
        stolen_hardirq=None,
        ready=None,
        waits=tuple(waits),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def trace(steps: Iterable[Step] = (), **fields: object) -> Trace:
    """A window of 10 s on four CPUs with one virtio device; figures of `steps` alone."""
    kept = tuple(steps)
    base = Trace(
        begin_ns=WINDOW_NS,
        end_ns=WINDOW_NS + 10_000_000_000,
        boot_id="boot",
        kernel="6.12.0",
        engine="test",
        selectors=("comm:agent",),
        online="0-3",
        syscalls=False,
        faults=True,
        steps=kept,
        kinds=tuple(kind_figures(kind, kept) for kind in StepKind),
        legs=tuple(LegFigures(leg, Histogram.of([1000, 2000])) for leg in LEGS),
        vectors=(VectorName(45, "0000:00:03.0", "virtio1-input.0", "3"),),
        names=((500, "hog"), (900, "waker")),
        machine="x86_64",
        coverage=StepCoverage(
            probes=Coverage(0, 0, 0),
            matched=sum(each.nr_waits for each in kept),
            coalesced=0,
            ambiguous=0,
            unattributed=0,
            ended=len(kept),
            kept=len(kept),
            refused=0,
            stray_ends=0,
            unfinished=0,
            lost_records=0,
        ),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def kind_figures(kind: StepKind, steps: Iterable[Step]) -> KindFigures:
    mine = [each for each in steps if each.kind is kind]
    return KindFigures(
        kind=kind,
        count=len(mine),
        durations=Histogram.of(each.duration_ns for each in mine),
        buckets_ns=tuple(
            sum(each.buckets_ns[index] for each in mine) for index in range(len(Bucket))
        ),
    )


_COMMS = st.sampled_from(("hog", "ksoftirqd/3", "irq/45-virtio1", "napi/eth0-1", "python3", ""))
_THIEVES = st.none() | st.builds(
    Thief,
    st.none() | st.integers(1, 300),
    st.none() | st.just("LOC"),
    st.none() | st.sampled_from(("NET_RX", "TIMER", "BLOCK")),
)


@st.composite
def holders(draw: st.DrawFn, window_ns: int) -> Holder:
    """Whatever can be true of a window this long, and some that cannot."""
    comm = draw(_COMMS)
    share = st.integers(0, window_ns)
    held_ns = draw(share) if comm else 0
    idle_ns = draw(st.integers(0, window_ns - held_ns))
    return Holder(
        cpu=draw(st.integers(0, 3)),
        tid=draw(st.integers(1, 9)) if comm else None,
        comm=comm,
        held_ns=held_ns,
        seen_ns=draw(st.integers(held_ns + idle_ns, window_ns)),
        idle_ns=idle_ns,
        softirq_ns=draw(st.none() | share),
        hardirq_ns=draw(st.none() | share),
        softirq_thief=draw(_THIEVES),
        hardirq_thief=draw(_THIEVES),
    )


@st.composite
def chains(draw: st.DrawFn, out_ns: int, waking_ns: int) -> Chain:
    """A chain that ends at `waking_ns`; its points may come before the wait, as real ones do."""
    points = sorted(draw(st.lists(st.integers(out_ns - 500, waking_ns), min_size=4, max_size=4)))
    if draw(st.booleans()):
        # A kernel thread may have carried it on to the raise of a softirq.
        points.insert(1, points.pop())
    present = draw(st.tuples(*[st.booleans()] * 4))
    times = [ns if there else None for ns, there in zip(points, present, strict=True)]
    return chain(
        irq=45 if present[0] else None,
        irq_ns=times[0],
        raise_ns=times[1],
        entry_ns=times[2],
        thread_ns=times[3],
        softirq=draw(st.none() | st.sampled_from(("NET_RX", "TIMER", "BLOCK"))),
        origin=draw(st.none() | st.integers(1, 9)),
        conduit=draw(st.none() | st.just(500)) if present[3] else None,
        ksoftirqd=draw(st.booleans()),
        hidden_irq=draw(st.booleans()),
        completion=draw(st.sampled_from(CompletionKind)),
        subject=draw(st.integers(0, 2**64 - 1)),
    )


@st.composite
def waits_from(draw: st.DrawFn, out_ns: int, in_ns: int) -> Wait:
    """One legal wait of this interval (absolute times)."""
    blocked = draw(st.booleans())
    seen = not blocked or draw(st.booleans())
    waking_ns = draw(st.integers(out_ns, in_ns)) if blocked and seen else None
    wakeup_ns = None
    if waking_ns is not None:
        wakeup_ns = draw(st.none() | st.integers(waking_ns, in_ns))
    return Wait(
        out_ns=out_ns,
        waking_ns=waking_ns,
        wakeup_ns=wakeup_ns,
        in_ns=in_ns,
        out_cpu=draw(st.integers(0, 3)),
        queue_cpu=draw(st.integers(0, 3)),
        in_cpu=draw(st.integers(0, 3)),
        blocked=blocked,
        throttled=(not blocked or seen) and draw(st.booleans()),
        migrated=draw(st.booleans()),
        in_fault=draw(st.booleans()),
        in_io=draw(st.booleans()),
        waking_seen=seen,
        chain=draw(st.none() | chains(out_ns, waking_ns)) if waking_ns is not None else None,
        waker=draw(st.none() | st.integers(1, 9)),
        waker_comm=draw(st.sampled_from(("", "peer", "child"))),
        waker_cpu=draw(st.none() | st.integers(0, 3)),
        holder=draw(holders(in_ns - (wakeup_ns or waking_ns or out_ns))),
        syscall=draw(st.none() | st.integers(0, 450)),
        object_kind=draw(st.sampled_from(ObjectKind)),
        object=draw(st.integers(0, 2**64 - 1)),
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """A step whose buckets hold all its waits, kept or not, and its time on the CPU."""
    edges = sorted(
        draw(st.sets(st.integers(BEGIN_NS, BEGIN_NS + 10_000_000), min_size=2, max_size=14))
    )
    kept = [
        draw(waits_from(out_ns, in_ns))
        for out_ns, in_ns in zip(edges[1:-1:2], edges[2:-1:2], strict=False)
    ][:8]
    begin_ns, end_ns = edges[0], edges[-1]
    rest_ns = end_ns - begin_ns - sum(each.in_ns - each.out_ns for each in kept)
    other = draw(st.integers(0, rest_ns))
    made = step(
        end_ns - begin_ns,
        kept,
        {draw(st.sampled_from(Bucket)): other},
        begin_ns=begin_ns,
        end_ns=end_ns,
        id=draw(st.integers(1, 2**64 - 1)),
        name=draw(st.text(max_size=23)),
        comm=draw(st.text(max_size=15)),
        kind=draw(st.sampled_from(StepKind)),
        stolen_softirq=draw(_THIEVES),
        stolen_hardirq=draw(_THIEVES),
        deadline_ns=draw(st.none() | st.integers(0, 2**63)),
        budget_us=draw(st.none() | st.integers(0, 2**32 - 1)),
        nr_waits=len(kept) + draw(st.integers(0, 3)),
        interleaved=draw(st.booleans()),
    )
    if not draw(st.booleans()):
        return made
    ready_ns = draw(st.integers(begin_ns, end_ns))
    return replace(made, ready=Ready(9, ready_ns, 1, draw(chains(begin_ns, ready_ns))))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    return trace(draw(st.lists(steps(), max_size=4)))
