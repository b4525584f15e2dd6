# SPDX-License-Identifier: GPL-2.0-only
"""Explanations as text: sentence, bucket bars, chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agenttune.measure.blame import from_interrupt
from agenttune.measure.culprit import split_by_ready
from agenttune.measure.legs import RUNNABLE, Leg, wait_legs
from agenttune.measure.syscalls import syscall_name
from agenttune.measure.trace import Chain, CompletionKind, Ready, Step, Trace, Wait
from agenttune.report.explanation import BucketShare, Explanation
from agenttune.report.names import conduit, disk, printable, raised, source, task
from agenttune.report.sentence import phrase
from agenttune.report.table import table
from agenttune.report.tracks import softirq_cpu
from agenttune.report.units import duration

BAR_WIDTH = 40
_HIDDEN = "an interrupt that no tracepoint shows"


def explanations_text(found: Sequence[Explanation], trace: Trace) -> str:
    """One section for each step; a record without steps says so."""
    if not found:
        return "no steps were recorded\n"
    return "\n".join(explanation_text(each, trace) for each in found)


def explanation_text(found: Explanation, trace: Trace) -> str:
    """The sentence and verdicts, the buckets, who else took part, and each kept wait in order."""
    step = found.step
    return "".join(
        (
            f"{found.sentence}; {found.remedy.text}\n",
            *(f"{line}\n" for line in _verdicts(found)),
            f"\nwhere {duration(found.duration_ns)} went: thread {step.tid} "
            f"({printable(step.comm)}) of process {step.tgid}\n",
            _bucket_rows(found),
            "\nwhat took it, largest first\n",
            _contributor_rows(found, trace),
            *_chain_lines(step, trace),
        )
    )


def _verdicts(found: Explanation) -> Iterator[str]:
    if found.late_ns is not None:
        yield _verdict(found.late_ns, "it missed its deadline by", "it met its deadline, with")
    if found.over_budget_ns is not None:
        budget = duration((found.step.budget_us or 0) * 1000)
        yield _verdict(
            found.over_budget_ns,
            f"it exceeded its budget of {budget} by",
            f"it kept its budget of {budget}, with",
        )
    if found.kind_median_ns is None:
        yield f"its kind has too few steps to compare with (n={found.kind_count})"
    step = found.step
    if step.ambiguous:
        yield "other steps shared its thread and no bound socket tells their completions apart"
    if step.nr_waits > len(step.waits):
        yield f"the {len(step.waits)} longest of its {step.nr_waits} waits were kept"


def _verdict(over_ns: int, missed: str, met: str) -> str:
    if over_ns > 0:
        return f"{missed} {duration(over_ns)}"
    return f"{met} {duration(-over_ns)} to spare"


def _bucket_rows(found: Explanation) -> str:
    shares = [each for each in found.buckets if each.ns]
    rows = [_bucket_row(each, found.duration_ns) for each in shares]
    rows.append(("residual", duration_of(found.residual_ns), "", "", ""))
    return table(("bucket", "time", "share", "mean of its kind", ""), rows)


def _bucket_row(share: BucketShare, whole_ns: int) -> tuple[str, ...]:
    part = share.ns / whole_ns if whole_ns else 0.0
    bar = "#" * round(BAR_WIDTH * part) or "."
    mean = "-" if share.mean_ns is None else duration(share.mean_ns)
    return (share.bucket, duration(share.ns), f"{100 * part:.1f} %", mean, bar)


def duration_of(ns: int) -> str:
    """A duration that may be negative."""
    return f"-{duration(-ns)}" if ns < 0 else duration(ns)


def _contributor_rows(found: Explanation, trace: Trace) -> str:
    whole_ns = found.duration_ns or 1
    return table(
        ("time", "share", "cause", "what"),
        (
            (
                duration(each.ns),
                f"{100 * each.ns / whole_ns:.1f} %",
                each.cause,
                phrase(each, trace),
            )
            for each in found.contributors
        ),
    )


def _chain_lines(step: Step, trace: Trace) -> Iterator[str]:
    if step.ready and split_by_ready(step):
        yield "\nhow its socket became ready (from the step's begin)\n"
        yield _events(_ready_events(step, step.ready, trace), step)
        return
    for number, wait in enumerate(step.waits, 1):
        took = duration(wait.in_ns - wait.out_ns)
        yield f"\nwait {number} of {len(step.waits)}, {took}{_like(wait)} (from the step's begin)\n"
        yield _events(_wait_events(wait, trace), step)


def _like(wait: Wait) -> str:
    """What waits that were not kept leave to one that is."""
    if not wait.like_waits:
        return ""
    return f", and {wait.like_waits} like it, blocked for {duration(wait.like_ns)}"


Event = tuple[int, int | None, str]


def _events(events: Iterator[Event], step: Step) -> str:
    ordered = sorted(events, key=lambda event: event[0])
    return table(
        ("at", "CPU", "event"),
        (
            (f"{(ns - step.begin_ns) / 1e6:+.3f} ms", "-" if cpu is None else cpu, text)
            for ns, cpu, text in ordered
        ),
    )


def _wait_events(wait: Wait, trace: Trace) -> Iterator[Event]:
    yield wait.out_ns, wait.out_cpu, _left(wait, trace)
    if wait.chain:
        yield from _chain_events(wait.chain, trace)
    if wait.waking_ns is not None:
        yield wait.waking_ns, wait.waker_cpu, f"wakes it{_waker(wait, trace)}"
    if wait.wakeup_ns is not None:
        yield wait.wakeup_ns, wait.queue_cpu, "on the run queue"
    moved = "" if wait.queue_cpu == wait.in_cpu else f", moved from CPU {wait.queue_cpu}"
    yield wait.in_ns, wait.in_cpu, f"runs again{moved}{_held(wait)}"


def _ready_events(step: Step, ready: Ready, trace: Trace) -> Iterator[Event]:
    yield step.begin_ns, step.cpu, "the step begins"
    # Its completion is the readiness itself.
    yield from _chain_events(replace(ready.chain, done_ns=None), trace)
    yield ready.ready_ns, ready.chain.cpu, f"socket {ready.cookie} is ready"
    yield step.end_ns, step.cpu, "the step ends"


def _chain_events(chain: Chain, trace: Trace) -> Iterator[Event]:
    if chain.irq_ns is not None:
        by = source(chain.irq, chain.arch, trace) or _HIDDEN
        yield chain.irq_ns, chain.irq_cpu, f"{by} fires"
    softirq = chain.softirq or "softirq"
    shared = ", for several interrupts; the first is shown" if chain.shared else ""
    if chain.raise_ns is not None:
        yield chain.raise_ns, softirq_cpu(chain), f"{softirq} raised{shared}"
    if chain.entry_ns is not None:
        where = " in ksoftirqd" if chain.ksoftirqd else ""
        yield chain.entry_ns, softirq_cpu(chain), f"{softirq} begins{where}"
    if chain.thread_ns is not None:
        yield chain.thread_ns, None, f"{conduit(chain, trace)} is woken to carry it on"
    if chain.done_ns is not None:
        yield chain.done_ns, chain.cpu, _completion(chain)


def _completion(chain: Chain) -> str:
    match chain.completion:
        case CompletionKind.BLOCK:
            took = f"{chain.bytes} bytes, after {duration(chain.latency_ns)}"
            return f"{disk(chain.subject)} completes a request of {took}"
        case CompletionKind.SOCKET:
            return f"socket {chain.subject} is ready" if chain.subject else "its socket is ready"
        case CompletionKind.URING:
            return f"io_uring completes request {chain.subject:#x}"
    return f"a {chain.completion} completes"


def _left(wait: Wait, trace: Trace) -> str:
    if not wait.blocked:
        return "throttled" if wait.throttled else "preempted"
    if wait.in_fault:
        return "blocks in a page fault"
    name = syscall_name(wait.syscall, trace.machine)
    what = "" if wait.object_kind == "none" else f" on a {wait.object_kind}"
    return f"blocks{f' in {name}' if name else ''}{what}"


def _waker(wait: Wait, trace: Trace) -> str:
    chain = wait.chain
    if chain is None or not from_interrupt(chain):
        who = task(wait.waker_comm, wait.waker)
        return f": {who}" if who else ""
    if chain.softirq:
        text = f" from {raised(chain.softirq, chain.irq, chain.arch, trace)}"
    else:
        text = f" from {source(chain.irq, chain.arch, trace) or _HIDDEN}"
    if chain.origin is None:
        return text
    comm = wait.waker_comm if wait.waker == chain.origin else dict(trace.names).get(chain.origin)
    return f"{text}, begun by {task(comm, chain.origin)}"


def _held(wait: Wait) -> str:
    queued: list[Leg] = [leg for leg in wait_legs(wait) if leg.bucket in RUNNABLE]
    if not queued:
        return ""
    held, waited = wait.holder, duration(queued[-1].ns)
    parts = [f"; CPU {wait.queue_cpu} meanwhile, of {waited}:"]
    who = task(held.comm, held.tid)
    if who and held.held_ns:
        parts.append(f"{who} {duration(held.held_ns)},")
    for ns, what in (
        (held.idle_ns, "idle"),
        (held.softirq_ns, "softirqs"),
        (held.hardirq_ns, "hardirqs"),
        (queued[-1].ns - held.seen_ns, "not seen"),
    ):
        if ns and ns > 0:
            parts.append(f"{what} {duration(ns)},")
    return " ".join(parts).rstrip(",:")
