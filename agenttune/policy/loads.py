# SPDX-License-Identifier: GPL-2.0-only
"""Loads: how much interrupt work each vector makes on each CPU, for balancing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agenttune.host.host import Host, Vector
from agenttune.measure.measurement import Measurement

NET_SOFTIRQS = frozenset({"NET_RX", "NET_TX"})
BLOCK_SOFTIRQS = frozenset({"BLOCK"})


@dataclass(frozen=True, slots=True)
class Loads:
    """Weights by IRQ number and CPU within one Host; `by_cpu` also holds what is no vector's.

    `unit` says what of: nanoseconds of hardirq and softirq time, or interrupts since boot; empty
    when nothing is known and every weight is 0. Softirq time carries no vector: a CPU's is shared
    among the vectors of that sort that fired there, by their interrupts. That share only steers
    the balance; it is never printed.
    """

    by_vector: Mapping[int, Mapping[int, int]]
    by_cpu: Mapping[int, int]
    unit: str

    def weight(self, irq: int) -> int:
        return sum(self.by_vector.get(irq, {}).values())


def host_loads(host: Host, measurement: Measurement | None) -> Loads:
    """The best figures there are: measured time, else counts since boot, else none."""
    if measurement is not None and measurement.vectors:
        return _measured(host, measurement)
    if any(vector.counts for vector in host.vectors):
        return _counted(host)
    return Loads({}, {}, "")


def _counted(host: Host) -> Loads:
    by_cpu: dict[int, int] = {}
    by_vector = {vector.irq: vector.counts or {} for vector in host.vectors}
    for counts in by_vector.values():
        for cpu, count in counts.items():
            by_cpu[cpu] = by_cpu.get(cpu, 0) + count
    return Loads(by_vector, by_cpu, "interrupts since boot")


def _measured(host: Host, measurement: Measurement) -> Loads:
    by_key = {vector.key: vector for vector in host.vectors}
    by_vector: dict[int, dict[int, int]] = {}
    by_cpu: dict[int, int] = {}
    fired: dict[int, list[tuple[Vector, int]]] = {}
    for load in measurement.vectors:
        by_cpu[load.cpu] = by_cpu.get(load.cpu, 0) + load.time_ns
        vector = by_key.get(load.key) if load.key else None
        if vector is not None:
            weights = by_vector.setdefault(vector.irq, {})
            weights[load.cpu] = weights.get(load.cpu, 0) + load.time_ns
            fired.setdefault(load.cpu, []).append((vector, load.count))
    for softirq in measurement.softirqs:
        by_cpu[softirq.cpu] = by_cpu.get(softirq.cpu, 0) + softirq.time_ns
        raisers = _raisers(softirq.vector, fired.get(softirq.cpu, ()))
        total = sum(raisers.values())
        for irq, count in raisers.items():
            by_vector[irq][softirq.cpu] += softirq.time_ns * count // total
    return Loads(by_vector, by_cpu, "measured hardirq and softirq time")


def _raisers(softirq: str, fired: Iterable[tuple[Vector, int]]) -> dict[int, int]:
    """IRQ number to interrupts, of the vectors whose handlers raise this softirq."""
    if softirq in NET_SOFTIRQS:
        return {vector.irq: count for vector, count in fired if vector.interface and count}
    if softirq in BLOCK_SOFTIRQS:
        return {vector.irq: count for vector, count in fired if vector.block and count}
    return {}
