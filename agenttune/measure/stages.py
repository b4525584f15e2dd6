# SPDX-License-Identifier: GPL-2.0-only
"""Stages: the ten stages from device to user space, judged by what a trace measured.

Ranges and typical causes are those of the note that this project implements (its section 4). A
stage is judged by its p99, or by the highest quantile that has enough samples; of several parts,
by the worst. Up to the quiet range's end it is quiet, from the tail range's beginning on it is
tail, between them it is elevated. The ranges are orders of magnitude for physical machines: where
CPUs are virtual or emulated they are compared all the same, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.measure.evidence import block_bound_ns, evidence
from agenttune.measure.histogram import Histogram, Quantile
from agenttune.measure.trace import Trace

US = 1_000
MS = 1_000_000
_JUDGED = (0.99, 0.95, 0.5)


class Stage(StrEnum):
    """The note's rows, in its order."""

    DEVICE = "device CQ update"
    MSIX = "MSI-X delivery to local APIC"
    IDT = "IDT vector dispatch"
    ENTRY = "x86 entry + state save"
    DISPATCH = "generic IRQ dispatch"
    HANDLER = "driver top half"
    SOFTIRQ = "NAPI / softirq"
    COMPLETION = "TCP/block completion"
    WAKEUP = "scheduler wakeup to run"
    RESUME = "userspace event-loop resume"


class Verdict(StrEnum):
    QUIET = "quiet"
    ELEVATED = "elevated"
    TAIL = "tail"
    NOT_OBSERVABLE = "not observable"
    TOO_FEW = "too few samples"


@dataclass(frozen=True, slots=True)
class Range:
    """[low, high] in ns; None: open at that end."""

    low_ns: int | None
    high_ns: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """One measured leg of a stage; see trace.LEGS."""

    leg: str
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage. `why` says what `verdict` rests on, or why there is none; never empty.

    `bound_ns`: it took at most this, by a measurement that holds more than this stage; else None.
    `typical` is the note's cause of its tail, `here` what the kept waits tell, or ''.
    """

    stage: Stage
    quiet: Range
    tail: Range
    parts: tuple[Part, ...]
    verdict: Verdict
    why: str
    typical: str
    here: str
    bound_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Spec:
    stage: Stage
    quiet: Range
    tail: Range
    typical: str
    legs: tuple[str, ...] = ()
    unseen: str = ""


_SPECS = (
    _Spec(
        Stage.DEVICE,
        Range(100, 2 * US),
        Range(5 * US, 20 * US),
        "PCIe or device queue congestion",
        unseen="the device writes it by DMA; no instruction of this machine runs",
    ),
    _Spec(
        Stage.MSIX,
        Range(100, US),
        Range(2 * US, 10 * US),
        "interrupt remapping, posted interrupt delay",
        unseen="it happens on the bus; no instruction runs until the CPU takes the interrupt",
    ),
    _Spec(
        Stage.IDT,
        Range(50, 300),
        Range(None, US),
        "cache miss on the entry path",
        unseen="the CPU reads the gate before the kernel's first instruction",
    ),
    _Spec(
        Stage.ENTRY,
        Range(500, 3 * US),
        Range(5 * US, 15 * US),
        "mitigations, cache and TLB state, stack locality",
        unseen="entry code runs where no tracepoint may",
    ),
    _Spec(
        Stage.DISPATCH,
        Range(US, 5 * US),
        Range(10 * US, 40 * US),
        "shared IRQ, lock contention, tracing overhead",
        unseen="for device interrupts, the first tracepoint (irq_handler_entry) comes after it",
    ),
    _Spec(
        Stage.HANDLER,
        Range(US, 15 * US),
        Range(50 * US, 200 * US),
        "excess work in hardirq, queue handling",
        ("handler",),
    ),
    _Spec(
        Stage.SOFTIRQ,
        Range(5 * US, 50 * US),
        Range(100 * US, 2 * MS),
        "budget exhaustion, ksoftirqd backlog, wrong CPU",
        ("softirq pending", "softirq"),
    ),
    _Spec(
        Stage.COMPLETION,
        Range(2 * US, 50 * US),
        Range(100 * US, MS),
        "socket locks, epoll wakeups, block queueing",
        ("completion",),
    ),
    _Spec(
        Stage.WAKEUP,
        Range(5 * US, 30 * US),
        Range(100 * US, 5 * MS),
        "runqueue pressure, migration, noisy cores",
        ("wakeup to run",),
    ),
    _Spec(
        Stage.RESUME,
        Range(US, 20 * US),
        Range(100 * US, None),
        "runtime contention, GC, parser work",
        ("resume",),
    ),
)
_BOUND = "with the stages beside it, at most the shortest block request of the kept waits"
# Measured on Linux 6.18: any enabled system call tracepoint puts every task's calls on a slow path.
_NO_SYSCALLS = "needs --syscalls, which makes every system call of every task 200 to 300 ns slower"


def stages(trace: Trace) -> tuple[StageRow, ...]:
    """The ten rows, in the note's order."""
    histograms = {each.leg: each.histogram for each in trace.legs}
    bound_ns = block_bound_ns(trace)
    here = evidence(trace)
    rows = []
    for spec in _SPECS:
        parts = tuple(Part(leg, histograms.get(leg, Histogram())) for leg in spec.legs)
        verdict, why = _verdict(spec, parts, trace.syscalls)
        bounded = bool(spec.unseen) and bound_ns is not None
        rows.append(
            StageRow(
                spec.stage,
                spec.quiet,
                spec.tail,
                parts,
                verdict,
                f"{why}; {_BOUND}" if bounded else why,
                spec.typical,
                here.get(spec.legs[-1], "") if spec.legs else "",
                bound_ns if bounded else None,
            )
        )
    return tuple(rows)


def judged_by(histogram: Histogram) -> Quantile | None:
    """The quantile that a verdict rests on: the highest up to p99 that has enough samples."""
    found = (histogram.quantile(q) for q in _JUDGED)
    return next((each for each in found if each and each.enough), None)


def _verdict(spec: _Spec, parts: tuple[Part, ...], syscalls: bool) -> tuple[Verdict, str]:
    if spec.unseen:
        return Verdict.NOT_OBSERVABLE, spec.unseen
    if spec.stage is Stage.RESUME and not syscalls:
        return Verdict.NOT_OBSERVABLE, _NO_SYSCALLS
    judged = [(found, part) for part in parts if (found := judged_by(part.histogram))]
    if not judged:
        most = max(part.histogram.count for part in parts)
        return Verdict.TOO_FEW, f"{most} samples; a median needs 20"
    worst, part = max(judged, key=lambda pair: pair[0].value)
    why = f"by the p{100 * worst.q:.0f}" + (f" of {part.leg}" if len(parts) > 1 else "")
    if worst.q < _JUDGED[0]:
        why += f": {part.histogram.count} samples, p99 needs 1000"
    if spec.tail.high_ns is not None and worst.value > spec.tail.high_ns:
        why += "; beyond the tail range"
    return _place(worst.value, spec), why


def _place(value_ns: float, spec: _Spec) -> Verdict:
    assert spec.quiet.high_ns is not None
    if value_ns <= spec.quiet.high_ns:
        return Verdict.QUIET
    if spec.tail.low_ns is not None and value_ns < spec.tail.low_ns:
        return Verdict.ELEVATED
    return Verdict.TAIL
