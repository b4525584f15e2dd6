# SPDX-License-Identifier: GPL-2.0-only
"""Figures: an engine's counters, put in the words of the host's inventory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agenttune.host.host import Host, VectorKey
from agenttune.measure.engine import Counters
from agenttune.measure.histogram import Histogram, merge
from agenttune.measure.measurement import (
    CpuSqueeze,
    Distribution,
    Measurement,
    NapiLoad,
    SoftirqLoad,
    VectorLoad,
)


@dataclass(frozen=True, slots=True)
class Window:
    """What a measurement says about itself. `netns` is the measuring process's own namespace."""

    length_ns: int
    boot_id: str | None
    kernel: str
    engine: str
    selectors: tuple[str, ...]
    online: str
    netns: int
    squeezes_before: Mapping[int, int]
    squeezes_after: Mapping[int, int]


def figures(counters: Counters, window: Window, host: Host | None) -> Measurement:
    """`host` ties IRQ numbers to vectors; a number it does not know stays a number."""
    keys = {vector.irq: vector.key for vector in host.vectors} if host else {}
    return Measurement(
        window_ns=window.length_ns,
        boot_id=window.boot_id,
        kernel=window.kernel,
        engine=window.engine,
        selectors=window.selectors,
        online=window.online,
        vectors=tuple(sorted(_vectors(counters, keys), key=lambda load: (load.irq, load.cpu))),
        softirqs=tuple(
            SoftirqLoad(load.vector, load.cpu, load.count, load.times.total, load.ksoftirqd_ns)
            for load in counters.softirqs
        ),
        napi=tuple(
            sorted(_napis(counters, window.netns), key=lambda load: (load.device, load.cpu))
        ),
        agents=counters.agents,
        squeezes=tuple(_squeezes(window)),
        distributions=tuple(_distributions(counters, keys, window.netns)),
        coverage=counters.coverage,
        arch_interrupts=counters.archs,
    )


def _vectors(counters: Counters, keys: Mapping[int, VectorKey]) -> Iterator[VectorLoad]:
    for load in counters.irqs:
        yield VectorLoad(load.irq, keys.get(load.irq), load.cpu, load.count, load.times.total)


def _napis(counters: Counters, netns: int) -> Iterator[NapiLoad]:
    for load in counters.napis:
        name = device_name(load.device, load.netns, netns)
        yield NapiLoad(name, load.cpu, load.polls, load.packets.total, load.exhausted)


def device_name(device: str, netns: int, own_netns: int) -> str:
    """Names are unique in one network namespace only: others are told apart by their inode."""
    return device if netns in (0, own_netns) else f"{device}@{netns}"


def _squeezes(window: Window) -> Iterator[CpuSqueeze]:
    for cpu, after in sorted(window.squeezes_after.items()):
        # The kernel counts in 32 bits.
        count = (after - window.squeezes_before.get(cpu, 0)) & 0xFFFFFFFF
        if count:
            yield CpuSqueeze(cpu, count)


def _distributions(
    counters: Counters, keys: Mapping[int, VectorKey], netns: int
) -> Iterator[Distribution]:
    irqs = ((_irq_subject(load.irq, keys), load.times) for load in counters.irqs)
    yield from _merged("hardirq-time", "ns", irqs)
    softirqs = counters.softirqs
    yield from _merged("softirq-latency", "ns", ((s.vector, s.latencies) for s in softirqs))
    yield from _merged("softirq-time", "ns", ((s.vector, s.times) for s in softirqs))
    polls = ((device_name(load.device, load.netns, netns), load.packets) for load in counters.napis)
    yield from _merged("napi-packets-per-poll", "packets", polls)
    yield from _merged("wakeup-latency", "ns", counters.wakeups.items())


def _irq_subject(irq: int, keys: Mapping[int, VectorKey]) -> str:
    key = keys.get(irq)
    return f"irq {irq} {key}" if key else f"irq {irq}"


def _merged(
    metric: str, unit: str, parts: Iterable[tuple[str, Histogram]]
) -> Iterator[Distribution]:
    """One distribution for each subject, over all CPUs."""
    by_subject: dict[str, list[Histogram]] = defaultdict(list)
    for subject, histogram in parts:
        by_subject[subject].append(histogram)
    for subject, histograms in by_subject.items():
        whole = merge(histograms)
        if whole.buckets:
            yield Distribution(metric, subject, unit, whole)
