# SPDX-License-Identifier: GPL-2.0-only
"""The BPF maps' keys and values: bpf/layout.h and bpf/stages.h as ctypes."""

from __future__ import annotations

from ctypes import Structure, c_char, c_uint16, c_uint32, c_uint64

from agenttune.measure.histogram import BUCKETS, Histogram

SOFTIRQ_SLOTS = 16
HARDIRQ_FRAMES = 4
SELECTORS = 16
COMM_LEN = 16
NAME_LEN = 16

# kernel/softirq.c, softirq_to_name, v6.1 to v6.18; the order is the vector's number.
SOFTIRQ_NAMES = (
    "HI",
    "TIMER",
    "NET_TX",
    "NET_RX",
    "BLOCK",
    "IRQ_POLL",
    "TASKLET",
    "SCHED",
    "HRTIMER",
    "RCU",
)
# enum at_arch, by the rows of /proc/interrupts that count them; CAL has two vectors.
ARCH_NAMES = ("LOC", "RES", "CAL", "CAL", "IWI")
# enum at_context.
CONTEXT_NAMES = ("task", "idle", "hardirq", *(f"softirq {name}" for name in SOFTIRQ_NAMES))


class BpfHistogram(Structure):
    _fields_ = (
        ("total", c_uint64),
        ("maximum", c_uint64),
        ("buckets", c_uint64 * BUCKETS),
    )

    def value(self) -> Histogram:
        return Histogram.from_counts(self.buckets[:], self.total, self.maximum)


class Params(Structure):
    _fields_ = (
        ("comms", c_char * COMM_LEN * SELECTORS),
        ("cgroups", c_uint64 * SELECTORS),
        ("tgids", c_uint32 * SELECTORS),
        ("nr_comms", c_uint32),
        ("nr_cgroups", c_uint32),
        ("nr_tgids", c_uint32),
        ("self_tgid", c_uint32),
    )


class AgentKey(Structure):
    _fields_ = (("tgid", c_uint32), ("cpu", c_uint32), ("comm", c_char * COMM_LEN))


class Agent(Structure):
    _fields_ = (("run_ns", c_uint64), ("stolen_ns", c_uint64), ("turns", c_uint64))


class Stamp(Structure):
    _fields_ = (("now_ns", c_uint64), ("hardirq_ns", c_uint64))


class Cause(Structure):
    _fields_ = (
        ("irq_ns", c_uint64),
        ("raise_ns", c_uint64),
        ("entry_ns", c_uint64),
        ("thread_ns", c_uint64),
        ("irq", c_uint32),
        ("origin", c_uint32),
        ("conduit", c_uint32),
        ("irq_cpu", c_uint16),
        ("flags", c_uint16),
    )


class Completion(Structure):
    _fields_ = (
        ("done_ns", c_uint64),
        ("subject", c_uint64),
        ("latency_ns", c_uint64),
        ("kind", c_uint32),
        ("bytes", c_uint32),
    )


class TaskFrame(Structure):
    _fields_ = (("tid", c_uint32), ("flags", c_uint32), ("cause", Cause), ("done", Completion))


class HardirqFrame(Structure):
    _fields_ = (
        ("start_ns", c_uint64),
        ("nested_ns", c_uint64),
        ("id", c_uint32),
        ("pad", c_uint32),
        ("done", Completion),
    )


class SoftirqFrame(Structure):
    _fields_ = (
        ("start", Stamp),
        ("earlier_ns", c_uint64),
        ("vector", c_uint32),
        ("task", c_uint32),
        ("cause", Cause),
        ("done", Completion),
    )


class Turn(Structure):
    _fields_ = (("start", Stamp), ("softirq_ns", c_uint64))


class Cpu(Structure):
    _fields_ = (
        ("hardirq_ns", c_uint64),
        ("softirq_ns", c_uint64),
        ("unpaired", c_uint64),
        ("depth", c_uint32),
        ("id", c_uint32),
        ("task", TaskFrame),
        ("hardirqs", HardirqFrame * HARDIRQ_FRAMES),
        ("last_irq_ns", c_uint64),
        ("last_irq", c_uint32),
        ("pad", c_uint32),
        ("softirq", SoftirqFrame),
        ("parked", SoftirqFrame),
        ("turn", Turn),
        ("raised", Cause * SOFTIRQ_SLOTS),
        ("raised_next", Cause * SOFTIRQ_SLOTS),
    )


class State(Structure):
    _fields_ = (
        ("frames", Cpu),
        ("lost", c_uint64),
        ("coalesced", c_uint64),
        ("agent", AgentKey),
    )


class IrqKey(Structure):
    _fields_ = (("irq", c_uint32), ("cpu", c_uint32))


class Irq(Structure):
    _fields_ = (("count", c_uint64), ("times", BpfHistogram))


class Load(Structure):
    _fields_ = (("count", c_uint64), ("time_ns", c_uint64))


class Softirq(Structure):
    _fields_ = (
        ("count", c_uint64),
        ("ksoftirqd_ns", c_uint64),
        ("times", BpfHistogram),
        ("latencies", BpfHistogram),
    )


class NapiKey(Structure):
    _fields_ = (("netns", c_uint32), ("cpu", c_uint32), ("device", c_char * NAME_LEN))


class Napi(Structure):
    _fields_ = (("polls", c_uint64), ("exhausted", c_uint64), ("packets", BpfHistogram))
