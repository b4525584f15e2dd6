# SPDX-License-Identifier: GPL-2.0-only
"""The values of steps' maps and ring: bpf/core.h and bpf/records.h as ctypes."""

from __future__ import annotations

from ctypes import Structure, c_char, c_int32, c_uint16, c_uint32, c_uint64

from agenttune.measure.layout import COMM_LEN, BpfHistogram, Cause, Completion, Cpu
from agenttune.measure.trace import Bucket, StepKind

TURNS = 16
STEP_NAME_LEN = 24
BUCKETS = len(Bucket)
KINDS = len(StepKind)

# enum at_sample_type.
STEP_SAMPLE, WAIT_SAMPLE = 1, 2

# at_cause.flags
CAUSE_IRQ, CAUSE_TASK, CAUSE_SHARED, CAUSE_KSOFTIRQD, CAUSE_THREAD, CAUSE_HIDDEN_IRQ = (
    1 << bit for bit in range(6)
)
# at_wait.flags
(
    WAIT_BLOCKED,
    WAIT_THROTTLED,
    WAIT_MIGRATED,
    WAIT_FAULT,
    WAIT_IO,
    WAIT_NO_WAKING,
    WAIT_NO_WAKEUP,
) = (1 << bit for bit in range(7))
# at_step.flags
STEP_OVERLAPPED, STEP_INTERLEAVED, STEP_BOUND, STEP_READY = (1 << bit for bit in range(4))
# AT_NO_IRQ: what took the time is no interrupt; AT_ARCH_ID: the first id without an IRQ number.
NO_IRQ = 0xFFFFFFFF
ARCH_ID = 0xFFFF0000


class Chain(Structure):
    _fields_ = (
        ("cause", Cause),
        ("done", Completion),
        ("vector", c_uint32),
        ("cpu", c_uint32),
    )


class Majority(Structure):
    _fields_ = (("weight_ns", c_uint64), ("irq", c_uint32), ("vector", c_uint32))


class PastTurn(Structure):
    _fields_ = (
        ("start_ns", c_uint64),
        ("comm", c_char * COMM_LEN),
        ("tid", c_uint32),
        ("pad", c_uint32),
        ("softirq", Majority),
        ("hardirq", Majority),
    )


class History(Structure):
    _fields_ = (("turns", c_uint64), ("past", PastTurn * TURNS))


class Tally(Structure):
    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            "matched",
            "coalesced",
            "ambiguous",
            "unattributed",
            "begun",
            "ended",
            "kept",
            "refused",
            "stray_ends",
            "lost_records",
            "bound_missed",
            "switches",
            "missed_switches",
            "lost",
        )
    )


class Core(Structure):
    _fields_ = (("frames", Cpu), ("history", History), ("tally", Tally))


class BpfKindFigures(Structure):
    _fields_ = (
        ("count", c_uint64),
        ("buckets_ns", c_uint64 * BUCKETS),
        ("durations", BpfHistogram),
    )


class BpfLegFigures(Structure):
    _fields_ = (("last_ns", c_uint64), ("durations", BpfHistogram))


class Floor(Structure):
    _fields_ = (("ns", c_uint64),)


class BpfHolder(Structure):
    _fields_ = (
        ("held_ns", c_uint64),
        ("seen_ns", c_uint64),
        ("idle_ns", c_uint64),
        ("comm", c_char * COMM_LEN),
        ("tid", c_uint32),
        ("cpu", c_uint32),
        ("softirq", Majority),
        ("hardirq", Majority),
    )


class BpfWait(Structure):
    _fields_ = (
        ("out_ns", c_uint64),
        ("waking_ns", c_uint64),
        ("wakeup_ns", c_uint64),
        ("in_ns", c_uint64),
        ("chain", Chain),
        ("holder", BpfHolder),
        ("hardirq_ns", c_uint64),
        ("softirq_ns", c_uint64),
        ("waker_comm", c_char * COMM_LEN),
        ("waker", c_uint32),
        ("waker_cpu", c_uint16),
        ("out_cpu", c_uint16),
        ("queue_cpu", c_uint16),
        ("in_cpu", c_uint16),
        ("flags", c_uint32),
        ("syscall", c_int32),
        ("object_kind", c_uint32),
        ("object", c_uint64),
        ("like_ns", c_uint64),
        ("like_waits", c_uint32),
        ("pad", c_uint32),
    )


class BpfReady(Structure):
    _fields_ = (
        ("step_id", c_uint64),
        ("cookie", c_uint64),
        ("ready_ns", c_uint64),
        ("tgid", c_uint32),
        ("count", c_uint32),
        ("chain", Chain),
    )


class Counts(Structure):
    _fields_ = tuple(
        (name, c_uint32)
        for name in (
            "waits",
            "preemptions",
            "migrations",
            "faults",
            "coalesced",
            "unattributed",
        )
    )


class StepRecord(Structure):
    _fields_ = (
        ("id", c_uint64),
        ("begin_ns", c_uint64),
        ("end_ns", c_uint64),
        ("deadline_ns", c_uint64),
        ("name", c_char * STEP_NAME_LEN),
        ("comm", c_char * COMM_LEN),
        ("tid", c_uint32),
        ("tgid", c_uint32),
        ("budget_us", c_uint32),
        ("kind", c_uint16),
        ("flags", c_uint16),
        ("buckets_ns", c_uint64 * BUCKETS),
        ("counts", Counts),
        ("cpu", c_uint32),
        ("waits", c_uint32),
        ("stolen_softirq", Majority),
        ("stolen_hardirq", Majority),
        ("ready", BpfReady),
    )


class StepSample(Structure):
    _fields_ = (("type", c_uint32), ("size", c_uint32), ("step", StepRecord))


class WaitSample(Structure):
    _fields_ = (
        ("type", c_uint32),
        ("size", c_uint32),
        ("step_id", c_uint64),
        ("begin_ns", c_uint64),
        ("tid", c_uint32),
        ("pad", c_uint32),
        ("wait", BpfWait),
    )
