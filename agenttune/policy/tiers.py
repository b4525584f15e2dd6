# SPDX-License-Identifier: GPL-2.0-only
"""Tiers: the CPUs that may serve a device, nearest first."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Topology


@dataclass(frozen=True, slots=True)
class Tier:
    """CPUs equally near; a CPU counts for the first tier that has it.

    `near` says where they are, for people; `local`: on the device's node.
    """

    cpus: CpuMask
    near: str
    local: bool


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The CPUs around the agent: those of its caches and of its NUMA nodes."""

    l3: CpuMask
    nodes: CpuMask


def neighbourhood(topology: Topology, agent: CpuMask) -> Neighbourhood:
    """Caches and nodes that this host does not tell contribute nothing."""
    l3 = CpuMask()
    agent_nodes = set()
    for cpu in topology.cpus:
        if cpu.cpu in agent:
            l3 |= cpu.l3 or CpuMask()
            agent_nodes.add(cpu.node)
    agent_nodes.discard(None)
    nodes = CpuMask.of(cpu.cpu for cpu in topology.cpus if cpu.node in agent_nodes)
    return Neighbourhood(l3, nodes)


def node_cpus(topology: Topology) -> dict[int, CpuMask]:
    cpus: dict[int, list[int]] = {}
    for cpu in topology.cpus:
        if cpu.node is not None:
            cpus.setdefault(cpu.node, []).append(cpu.cpu)
    return {node: CpuMask.of(members) for node, members in cpus.items()}


def device_tiers(
    allowed: CpuMask, node: int | None, nodes: dict[int, CpuMask], agent: Neighbourhood
) -> tuple[Tier, ...]:
    """Parts of `allowed` for a device on `node` (None: unknown), the last one all of it.

    The device's node comes before the agent's cache: its memory and doorbells are there. Inside
    the node the agent's L3 comes first: what a handler leaves there is warm when the agent wakes.
    A host of one node has no remote CPU, whatever its devices say of their node.
    """
    local, on_node = _local(allowed, node, nodes)
    tiers = (
        Tier(local & agent.l3, _near("in the agent's L3 cache", on_node), True),
        Tier(local, _near(on_node), True),
        Tier(allowed & agent.l3, _near("in the agent's L3 cache"), False),
        Tier(allowed & agent.nodes, _near("on the agent's NUMA node"), False),
        Tier(allowed, _near(), False),
    )
    return tuple(tier for tier in tiers if tier.cpus)


def _local(allowed: CpuMask, node: int | None, nodes: dict[int, CpuMask]) -> tuple[CpuMask, str]:
    if not nodes:
        return allowed, ""
    if len(nodes) == 1:
        return allowed, "on the only NUMA node"
    if node is None:
        return CpuMask(), ""
    return allowed & nodes.get(node, CpuMask()), f"on the device's NUMA node {node}"


def _near(*where: str) -> str:
    return ", ".join(filter(None, where))
