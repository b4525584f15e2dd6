# SPDX-License-Identifier: GPL-2.0-only
"""Measurement: what one window of `agenttune measure` saw, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.host.host import VectorKey
from agenttune.measure.histogram import Histogram


@dataclass(frozen=True, slots=True)
class VectorLoad:
    """One vector on one CPU. `time_ns` excludes what interrupted it.

    `key` is None when the IRQ number could not be tied to a vector of the inventory (a vector that
    came or went inside the window).
    """

    irq: int
    key: VectorKey | None
    cpu: int
    count: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class SoftirqLoad:
    """One softirq vector on one CPU. `vector` is the kernel's name: 'NET_RX', 'TIMER', ...

    `time_ns` excludes hardirqs that nested in it; `ksoftirqd_ns` is the part run by ksoftirqd.
    """

    vector: str
    cpu: int
    count: int
    time_ns: int
    ksoftirqd_ns: int = 0


@dataclass(frozen=True, slots=True)
class ArchLoad:
    """One x86 interrupt without a number on one CPU; `name` is its row of /proc/interrupts.

    Covered are LOC (local timer), RES and CAL (other CPUs' calls) and IWI (IRQ work).
    """

    name: str
    cpu: int
    count: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class NapiLoad:
    """One device's NAPI polls on one CPU. `exhausted`: polls that used their whole budget."""

    device: str
    cpu: int
    polls: int
    packets: int
    exhausted: int


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """One agent process (comm, tgid) on one CPU: how long its threads ran there.

    `run_ns` excludes `stolen_ns`: hardirqs and softirqs that ran while a thread held the CPU.
    """

    comm: str
    tgid: int
    cpu: int
    run_ns: int
    switches_in: int
    stolen_ns: int = 0


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of one metric for one subject; `unit` is 'ns', or 'packets' for NAPI polls.

    metric: 'hardirq-time' (subject 'irq 45 device/entry/action'), 'softirq-latency' raise→entry and
    'softirq-time' (subject 'NET_RX'), 'napi-packets-per-poll' (subject device),
    'wakeup-latency' waking→run of agent threads, by the waker's context (subject: 'hardirq',
    'softirq NET_RX', 'task', 'idle').
    """

    metric: str
    subject: str
    unit: str
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Missing:
    """A probe this kernel cannot attach, and the figures that are therefore absent."""

    probe: str
    reason: str
    consequence: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the window the figures cover.

    `recursion_misses` are BPF program runs the kernel skipped; `lost` are map insertions or records
    that did not fit; `unpaired` are exits without an entry and entries cut by the window's edges.
    `coalesced` are wakings of agent threads that still ran, so that there was nothing to wait for.
    """

    recursion_misses: int
    lost: int
    unpaired: int
    missing: tuple[Missing, ...] = ()
    coalesced: int = 0


@dataclass(frozen=True, slots=True)
class CpuSqueeze:
    """net_rx_action runs on one CPU that ended with work left (softnet_stat's time_squeeze)."""

    cpu: int
    count: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One window. `window_ns` is its length on CLOCK_MONOTONIC; it opens after the last attach."""

    window_ns: int
    boot_id: str | None
    kernel: str
    engine: str
    selectors: tuple[str, ...]
    online: str
    vectors: tuple[VectorLoad, ...]
    softirqs: tuple[SoftirqLoad, ...]
    napi: tuple[NapiLoad, ...]
    agents: tuple[AgentLoad, ...]
    squeezes: tuple[CpuSqueeze, ...]
    distributions: tuple[Distribution, ...]
    coverage: Coverage
    arch_interrupts: tuple[ArchLoad, ...] = ()
