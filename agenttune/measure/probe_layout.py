# SPDX-License-Identifier: GPL-2.0-only
"""The probes' keys and values: bpf/probe.h as ctypes."""

from __future__ import annotations

from ctypes import Structure, c_char, c_uint32, c_uint64
from enum import IntEnum, StrEnum

from agenttune.measure import layout

SAMPLE_NAME_LEN = 32
# The note's limit of a small read (its section 5.5).
DEFAULT_MAX_BYTES = 65536


class ProbeName(StrEnum):
    """enum at_probe, in its order: the names on the command line."""

    IRQ = "irq"
    SOFTIRQ = "softirq"
    WAKEUP = "wakeup"
    SYSCALL = "syscall"
    BLOCK = "block"
    FAULT = "fault"
    IRQ_TO_RUN = "irq-to-run"

    @property
    def number(self) -> int:
        return list(ProbeName).index(self)


class Sample(IntEnum):
    """enum at_sample; those from FAULTS on only count."""

    HANDLER = 0
    HANDLER_IDLE = 1
    ARCH = 2
    SOFTIRQ_TIME = 3
    SOFTIRQ_LATENCY = 4
    POLL = 5
    WAKEUP = 6
    SYSCALL = 7
    READ = 8
    WRITE = 9
    FAULT_MINOR = 10
    FAULT_MAJOR = 11
    FAULT_WAIT = 12
    RUN_NEAR = 13
    RUN_EXACT = 14
    FAULTS = 15
    POLL_ELSEWHERE = 16
    LARGE = 17
    FAILED = 18
    REQUEUED = 19
    RUN_EARLY = 20
    RUN_NO_IRQ = 21

    @property
    def only_counts(self) -> bool:
        return self >= Sample.FAULTS


class Chosen(Structure):
    _fields_ = (("probe", c_uint32), ("max_bytes", c_uint32))


class Parity(Structure):
    _fields_ = (("value", c_uint32),)


class SampleKey(Structure):
    _fields_ = (
        ("sample", c_uint32),
        ("number", c_uint32),
        ("scope", c_uint32),
        ("cpu", c_uint32),
        ("parity", c_uint32),
        ("name", c_char * SAMPLE_NAME_LEN),
    )


class ProbeCpu(Structure):
    _fields_ = (
        ("frames", layout.Cpu),
        ("lost", c_uint64),
        ("coalesced", c_uint64),
        ("poll", layout.Stamp),
        ("last_exit_ns", c_uint64),
    )
