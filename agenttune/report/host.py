# SPDX-License-Identifier: GPL-2.0-only
"""The inventory as text."""

from __future__ import annotations

from collections import defaultdict

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Cpu, Host, NetInterface, Topology, Vector
from agenttune.report.table import UNKNOWN, table
from agenttune.report.units import per_cpu


def host_text(host: Host) -> str:
    """CPUs, vectors, interfaces, disks, softirqs, softnet, sysctls, writers, what is unknown."""
    sections = (
        ("CPUs", _topology_text(host.topology)),
        (_vector_title(host), _vector_rows(host)),
        ("other interrupts", _arch_rows(host)),
        ("network queues", _interface_rows(host)),
        ("NAPI instances", _napi_rows(host)),
        ("disks", _block_rows(host)),
        ("softirqs", _softirq_rows(host)),
        ("softnet (per CPU)", _softnet_rows(host)),
        ("sysctls", _sysctl_rows(host)),
        ("who else writes these knobs", _writer_rows(host)),
        ("agent threads", _agent_rows(host)),
        ("unknown here", "".join(f"  {line}\n" for line in host.unknown)),
    )
    return _head(host) + "".join(f"\n{title}\n{body}" for title, body in sections if body)


def _head(host: Host) -> str:
    source = "live" if host.live else f"recorded in {host.root}"
    return f"host: Linux {host.kernel or UNKNOWN}, {source}\n"


def _mask(mask: CpuMask | None) -> str:
    return UNKNOWN if mask is None else str(mask) or "none"


def _topology_text(topology: Topology) -> str:
    offline = CpuMask.of(cpu.cpu for cpu in topology.cpus) - topology.online
    lines = [
        f"  online {_mask(topology.online)} ({len(topology.online)}), offline {_mask(offline)}, "
        f"isolated {_mask(topology.isolated)}, nohz_full {_mask(topology.nohz_full)}\n"
    ]
    for partition in topology.partitions or ():
        lines.append(f"  cpuset {partition.cgroup}: {partition.state}, CPUs {partition.cpus}\n")
    return "".join(lines) + _cache_rows(topology)


def _cache_rows(topology: Topology) -> str:
    groups: dict[tuple[object, ...], list[Cpu]] = defaultdict(list)
    for cpu in topology.cpus:
        if cpu.online:
            groups[cpu.package, cpu.node, cpu.l3, cpu.core_type].append(cpu)
    header = ("CPUs", "package", "NUMA node", "core type", "SMT siblings")
    return table(
        header,
        (
            (
                CpuMask.of(cpu.cpu for cpu in cpus),
                package,
                node,
                core_type or "-",
                _siblings(cpus),
            )
            for (package, node, _, core_type), cpus in groups.items()
        ),
    )


def _siblings(cpus: list[Cpu]) -> str:
    if any(cpu.siblings is None for cpu in cpus):
        return UNKNOWN
    cores = dict.fromkeys(str(cpu.siblings) for cpu in cpus if len(cpu.siblings or ()) > 1)
    shown = list(cores)[:8]
    more = f" and {len(cores) - 8} more" if len(cores) > 8 else ""
    return " ".join(shown) + more or "none"


def _vector_title(host: Host) -> str:
    return f"vectors ({len(host.vectors)}, default affinity {_mask(host.default_affinity)})"


def _vector_rows(host: Host) -> str:
    header = ("irq", "vector", "driver", "serves", "state", "affinity", "effective", "interrupts")
    return table(header, (_vector_row(vector) for vector in host.vectors))


def _vector_row(vector: Vector) -> tuple[object, ...]:
    threads = "".join(f" + {thread.comm} on {thread.affinity}" for thread in vector.threads)
    return (
        vector.irq,
        vector.key,
        vector.driver or "-",
        _serves(vector) + threads,
        vector.movability,
        _mask(vector.affinity),
        _mask(vector.effective),
        None if vector.counts is None else per_cpu(vector.counts),
    )


def _serves(vector: Vector) -> str:
    queue = "" if vector.queue is None else f" {vector.direction or 'queue'} {vector.queue}"
    return f"{vector.interface or vector.block or '-'}{queue}"


def _arch_rows(host: Host) -> str:
    active = (row for row in host.arch_interrupts if any(row.counts.values()))
    header = ("name", "what", "interrupts")
    return table(header, ((row.name, row.description, per_cpu(row.counts)) for row in active))


def _interface_rows(host: Host) -> str:
    rows = [
        (
            interface.name,
            interface.device or "-",
            f"{queue.direction}-{queue.index}",
            "rps_cpus" if queue.direction == "rx" else "xps_cpus",
            "not supported" if queue.steering is None else str(queue.steering) or "off",
        )
        for interface in host.interfaces
        for queue in interface.queues
    ]
    return table(("interface", "device", "queue", "knob", "CPUs"), rows)


def _napi_rows(host: Host) -> str:
    header = ("interface", "id", "irq", "thread", "defer_hard_irqs", "gro_flush_timeout_ns")
    return table(header, (row for each in host.interfaces for row in _napis(each)))


def _napis(interface: NetInterface) -> list[tuple[object, ...]]:
    return [
        (
            interface.name,
            napi.napi_id,
            napi.irq,
            napi.pid or "-",
            napi.defer_hard_irqs,
            napi.gro_flush_timeout_ns,
        )
        for napi in interface.napis or ()
    ]


def _block_rows(host: Host) -> str:
    rows = [
        (block.name, block.device or "-", queue.index, _mask(queue.cpus))
        for block in host.blocks
        for queue in block.queues or ()
    ]
    return table(("disk", "device", "queue", "CPUs"), rows)


def _softirq_rows(host: Host) -> str:
    rows = ((name, per_cpu(counts)) for name, counts in (host.softirqs or {}).items())
    return table(("softirq", "runs"), rows)


def _softnet_rows(host: Host) -> str:
    header = ("CPU", "processed", "dropped", "time_squeeze", "received_rps", "backlog")
    return table(
        header,
        (
            (
                row.cpu,
                row.processed,
                row.dropped,
                row.time_squeeze,
                row.received_rps,
                row.backlog,
            )
            for row in host.softnet or ()
        ),
    )


def _sysctl_rows(host: Host) -> str:
    return table(("name", "value"), (host.sysctls or {}).items())


def _writer_rows(host: Host) -> str:
    states = {True: "active", False: "not active", None: "state unknown"}
    rows = (
        (writer.name, states[writer.active], ", ".join(writer.writes), writer.detail)
        for writer in host.writers
    )
    return table(("writer", "state", "writes", "detail"), rows)


def _agent_rows(host: Host) -> str:
    header = ("thread", "process", "comm", "affinity", "last CPU")
    return table(
        header,
        (
            (task.pid, task.tgid, task.comm, _mask(task.affinity), task.last_cpu)
            for task in host.agents
        ),
    )
