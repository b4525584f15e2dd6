# SPDX-License-Identifier: GPL-2.0-only
"""A measurement as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from agenttune.host.cpumask import CpuMask
from agenttune.measure.histogram import RELATIVE_ERROR, SAMPLES_BEYOND
from agenttune.measure.measurement import ArchLoad, Coverage, Measurement, VectorLoad
from agenttune.report.table import table
from agenttune.report.units import duration, percent, quantile_cells

_DISTRIBUTIONS = (
    f"distributions (quantiles to within {100 * RELATIVE_ERROR:.1f} %; 'few': fewer than "
    f"{SAMPLES_BEYOND} samples beyond it)"
)


def measurement_text(seen: Measurement) -> str:
    """Interrupt share per CPU, load per vector, softirqs, NAPI, agents, quantiles, coverage."""
    sections = (
        ("CPUs (share of the window)", _cpu_rows(seen)),
        ("vectors", _vector_rows(seen)),
        ("interrupts without a vector", _arch_rows(seen)),
        ("softirqs", _softirq_rows(seen)),
        ("NAPI polls", _napi_rows(seen)),
        ("agents", _agent_rows(seen)),
        (_DISTRIBUTIONS, _distribution_rows(seen)),
    )
    body = "".join(f"\n{title}\n{rows}" for title, rows in sections if rows)
    return f"{_head(seen)}{body}\n{coverage_text(seen.coverage)}"


def coverage_text(coverage: Coverage) -> str:
    """The coverage line, then one line per probe that is missing."""
    lines = [
        f"coverage: {coverage.lost} lost, {coverage.recursion_misses} recursion misses, "
        f"{coverage.unpaired} unpaired at the window's edges, "
        f"{coverage.coalesced} wakings of threads that still ran, "
        f"{len(coverage.missing)} probes missing\n"
    ]
    lines += [
        f"  missing {missing.probe}: {missing.reason}; {missing.consequence}\n"
        for missing in coverage.missing
    ]
    return "".join(lines)


def _head(seen: Measurement) -> str:
    agents = ", ".join(seen.selectors) or "none selected"
    return (
        f"measured {duration(seen.window_ns)} on Linux {seen.kernel} with {seen.engine}; "
        f"agents: {agents}\n"
    )


def _sum(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    totals: dict[int, int] = defaultdict(int)
    for key, value in pairs:
        totals[key] += value
    return totals


def _cpu_rows(seen: Measurement) -> str:
    interrupts: list[VectorLoad | ArchLoad] = [*seen.vectors, *seen.arch_interrupts]
    hard = _sum((load.cpu, load.time_ns) for load in interrupts)
    hard_count = _sum((load.cpu, load.count) for load in interrupts)
    soft = _sum((load.cpu, load.time_ns) for load in seen.softirqs)
    agent = _sum((load.cpu, load.run_ns) for load in seen.agents)
    squeezed = _sum((squeeze.cpu, squeeze.count) for squeeze in seen.squeezes)
    header = ("CPU", "hardirq %", "interrupts", "softirq %", "time squeezes", "agent ran %")
    return table(
        header,
        (
            (
                cpu,
                percent(hard.get(cpu, 0), seen.window_ns),
                hard_count.get(cpu, 0),
                percent(soft.get(cpu, 0), seen.window_ns),
                squeezed.get(cpu, 0),
                percent(agent[cpu], seen.window_ns) if cpu in agent else "-",
            )
            for cpu in CpuMask.parse_list(seen.online)
        ),
    )


def _vector_rows(seen: Measurement) -> str:
    agent_cpus = {load.cpu for load in seen.agents if load.run_ns}
    ranked = sorted(seen.vectors, key=lambda load: (-load.time_ns, load.irq, load.cpu))
    header = ("irq", "vector", "CPU", "count", "time", "% of CPU", "agent ran there")
    return table(header, (_vector_row(load, seen.window_ns, agent_cpus) for load in ranked))


def _vector_row(load: VectorLoad, window_ns: int, agent_cpus: set[int]) -> tuple[object, ...]:
    return (
        load.irq,
        load.key or "not in the inventory",
        load.cpu,
        load.count,
        duration(load.time_ns),
        percent(load.time_ns, window_ns),
        "yes" if load.cpu in agent_cpus else "no",
    )


def _arch_rows(seen: Measurement) -> str:
    rows = (
        (
            load.name,
            load.cpu,
            load.count,
            duration(load.time_ns),
            percent(load.time_ns, seen.window_ns),
        )
        for load in sorted(seen.arch_interrupts, key=lambda load: (load.name, load.cpu))
    )
    return table(("name", "CPU", "count", "time", "% of CPU"), rows)


def _softirq_rows(seen: Measurement) -> str:
    ranked = sorted(seen.softirqs, key=lambda load: (load.vector, load.cpu))
    header = ("softirq", "CPU", "count", "time", "% of CPU", "in ksoftirqd")
    return table(
        header,
        (
            (
                load.vector,
                load.cpu,
                load.count,
                duration(load.time_ns),
                percent(load.time_ns, seen.window_ns),
                duration(load.ksoftirqd_ns),
            )
            for load in ranked
        ),
    )


def _napi_rows(seen: Measurement) -> str:
    return table(
        ("device", "CPU", "polls", "packets", "budget exhausted"),
        ((load.device, load.cpu, load.polls, load.packets, load.exhausted) for load in seen.napi),
    )


def _agent_rows(seen: Measurement) -> str:
    return table(
        ("agent", "process", "CPU", "ran", "% of CPU", "interrupts took", "switches in"),
        (
            (
                load.comm,
                load.tgid,
                load.cpu,
                duration(load.run_ns),
                percent(load.run_ns, seen.window_ns),
                duration(load.stolen_ns),
                load.switches_in,
            )
            for load in seen.agents
        ),
    )


def _distribution_rows(seen: Measurement) -> str:
    return table(
        ("metric", "subject", "samples", "p50", "p95", "p99", "p999", "max"),
        (
            (
                each.metric,
                each.subject,
                each.histogram.count,
                *quantile_cells(each.histogram, each.unit),
                duration(each.histogram.maximum) if each.unit == "ns" else each.histogram.maximum,
            )
            for each in seen.distributions
        ),
    )
