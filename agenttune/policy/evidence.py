# SPDX-License-Identifier: GPL-2.0-only
"""Evidence: the measured or counted figures behind a change, as short phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Vector
from agenttune.measure.measurement import Measurement

# A vector that fired on more avoided CPUs than this is shown by its busiest ones.
SHOWN_CPUS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """Lookup tables of one measurement; all empty, with `window_ns` 0, when there is none."""

    window_ns: int
    hardirq_ns: Mapping[int, int]
    softirq_ns: Mapping[int, int]
    vectors: Mapping[int, tuple[tuple[int, int, int], ...]]

    @property
    def seconds(self) -> str:
        return f"{self.window_ns / 1e9:.1f} s"


def host_evidence(host: Host, measurement: Measurement | None) -> Evidence:
    """Index a measurement by CPU, and by the IRQ numbers that its vectors have in `host`."""
    if measurement is None:
        return Evidence(0, {}, {}, {})
    irqs = {vector.key: vector.irq for vector in host.vectors}
    hardirq_ns: dict[int, int] = {}
    vectors: dict[int, list[tuple[int, int, int]]] = {}
    for load in measurement.vectors:
        hardirq_ns[load.cpu] = hardirq_ns.get(load.cpu, 0) + load.time_ns
        irq = irqs.get(load.key) if load.key else None
        if irq is not None:
            vectors.setdefault(irq, []).append((load.time_ns, load.count, load.cpu))
    softirq_ns: dict[int, int] = {}
    for softirq in measurement.softirqs:
        softirq_ns[softirq.cpu] = softirq_ns.get(softirq.cpu, 0) + softirq.time_ns
    seen = {irq: tuple(sorted(rows, reverse=True)) for irq, rows in vectors.items()}
    return Evidence(measurement.window_ns, hardirq_ns, softirq_ns, seen)


def of_vector(evidence: Evidence, vector: Vector, cpus: CpuMask) -> tuple[str, ...]:
    """What the vector did on `cpus`: measured if there is a measurement, else counted."""
    if evidence.window_ns:
        rows = [row for row in evidence.vectors.get(vector.irq, ()) if row[2] in cpus and row[1]]
        if not rows:
            return (f"did not fire there in {evidence.seconds}",)
        return tuple(_measured(evidence, *row) for row in rows[:SHOWN_CPUS])
    if vector.counts is None:
        return ()
    counts = [(vector.counts[cpu], cpu) for cpu in cpus if vector.counts.get(cpu)]
    return tuple(
        f"{_interrupts(count)} on CPU {cpu} since boot"
        for count, cpu in sorted(counts, reverse=True)[:SHOWN_CPUS]
    )


def _measured(evidence: Evidence, time_ns: int, count: int, cpu: int) -> str:
    cpu_ns = evidence.hardirq_ns[cpu]
    share = f"{100 * time_ns / cpu_ns:.1f} % of " if cpu_ns else "no part of "
    return f"{share}CPU {cpu}'s hardirq time in {evidence.seconds} ({_interrupts(count)})"


def _interrupts(count: int) -> str:
    return "1 interrupt" if count == 1 else f"{count} interrupts"


def of_target(evidence: Evidence, cpu: int, near: str) -> tuple[str, ...]:
    """Why this CPU: where it is, and how busy with interrupts it was before the change."""
    facts = [near] if near else []
    if evidence.window_ns:
        busy_ns = evidence.hardirq_ns.get(cpu, 0) + evidence.softirq_ns.get(cpu, 0)
        share = 100 * busy_ns / evidence.window_ns
        facts.append(f"{share:.1f} % of its {evidence.seconds} went to interrupts")
    return (f"CPU {cpu}: {'; '.join(facts)}",) if facts else ()
