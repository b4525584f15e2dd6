# SPDX-License-Identifier: GPL-2.0-only
"""Loads: how much interrupt work each vector makes on each CPU, for balancing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from agenttune.host.host import Host, Vector
from agenttune.measure.measurement import Measurement, SoftirqLoad

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Loads:
    """Weights by IRQ number and CPU within one Host; `by_cpu` also holds what is no vector's.

    `unit` says what of: nanoseconds of hardirq and softirq time, or interrupts since boot; empty
    when nothing is known and every weight is 0. Softirq time carries no vector: a CPU's is shared
    among the vectors that brought it (see _brought). That share only steers the balance; it is
    never printed.
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
            _add(by_cpu, cpu, count)
    return Loads(by_vector, by_cpu, "interrupts since boot")


def _measured(host: Host, measurement: Measurement) -> Loads:
    by_key = {vector.key: vector for vector in host.vectors}
    by_vector: dict[int, dict[int, int]] = {}
    by_cpu: dict[int, int] = {}
    cpus: dict[int, _Cpu] = {}
    for load in measurement.vectors:
        _add(by_cpu, load.cpu, load.time_ns)
        vector = by_key.get(load.key) if load.key else None
        if vector is not None:
            _add(by_vector.setdefault(vector.irq, {}), load.cpu, load.time_ns)
            cpus.setdefault(load.cpu, _Cpu()).fired.append((vector, load.count))
    for napi in measurement.napi:
        # A poll counts as a packet: polls of finished sends bring none.
        _add(cpus.setdefault(napi.cpu, _Cpu()).polled, napi.device, napi.packets + napi.polls)
    queues = _queues(host.vectors)
    for softirq in measurement.softirqs:
        _add(by_cpu, softirq.cpu, softirq.time_ns)
        seen = cpus.get(softirq.cpu, _Cpu())
        for irq, time_ns in _brought(softirq, seen, queues):
            _add(by_vector.setdefault(irq, {}), softirq.cpu, time_ns)
    return Loads(by_vector, by_cpu, "measured hardirq and softirq time")


def _queues(vectors: Iterable[Vector]) -> dict[tuple[str, int], list[Vector]]:
    """The vectors of network queues by interface and CPU."""
    queues: dict[tuple[str, int], list[Vector]] = {}
    for vector in vectors:
        if vector.interface is not None and vector.queue is not None:
            for cpu in vector.effective or ():
                queues.setdefault((vector.interface, cpu), []).append(vector)
    return queues


@dataclass(frozen=True, slots=True)
class _Cpu:
    """What one CPU did: vectors with their interrupts, devices with their NAPI work."""

    fired: list[tuple[Vector, int]] = field(default_factory=list)
    polled: dict[str, int] = field(default_factory=dict)


def _brought(
    softirq: SoftirqLoad, seen: _Cpu, queues: Mapping[tuple[str, int], list[Vector]]
) -> Iterator[tuple[int, int]]:
    """A CPU's softirq time by the vectors whose handlers raised it; what is nobody's is left out.

    NET_RX time goes to devices by their NAPI work, then to a device's vectors by interrupts. By
    interrupts alone a flooded NIC would weigh next to nothing: they are off while its NAPI stays
    scheduled (net_rx_action, net/core/dev.c, v6.12).
    """
    if softirq.vector == "NET_RX" and seen.polled:
        for device, time_ns in _split(softirq.time_ns, seen.polled):
            own = [(v, count) for v, count in seen.fired if v.interface == device]
            served = _counts((v, count) for v, count in own if v.queue is not None)
            # A NAPI that never rests has had no interrupt at all.
            resident = {vector.irq: 1 for vector in queues.get((device, softirq.cpu), ())}
            yield from _split(time_ns, served or resident or _counts(own))
    elif softirq.vector in {"NET_RX", "NET_TX"}:
        nics = ((vector, count) for vector, count in seen.fired if vector.interface)
        yield from _split(softirq.time_ns, _counts(nics))
    elif softirq.vector == "BLOCK":
        disks = ((vector, count) for vector, count in seen.fired if vector.block)
        yield from _split(softirq.time_ns, _counts(disks))


def _counts(fired: Iterable[tuple[Vector, int]]) -> dict[int, int]:
    return {vector.irq: count for vector, count in fired if count}


def _split(amount: int, parts: Mapping[Key, int]) -> Iterator[tuple[Key, int]]:
    total = sum(parts.values())
    return ((key, amount * part // total) for key, part in parts.items())


def _add(sums: dict[Key, int], key: Key, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount
