# SPDX-License-Identifier: GPL-2.0-only
"""The agent's CPUs: which they are, with the evidence that says so."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.errors import PlanRefused
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Topology
from agenttune.measure.measurement import Measurement
from agenttune.policy.profile import Profile

# A thread that only passes through a CPU does not make it the agent's.
MIN_RUN_SHARE_PCT = 1.0

WHAT_TO_GIVE = (
    "Give agent.cpus a list such as 2-3, pin the agent, or plan with a measurement taken while "
    "it runs."
)


@dataclass(frozen=True, slots=True)
class AgentCpus:
    """`source` says where `cpus` comes from: a phrase for people."""

    cpus: CpuMask
    source: str


def agent_cpus(host: Host, profile: Profile, measurement: Measurement | None) -> AgentCpus:
    """The profile's list, its cpuset, or the best evidence. Raises PlanRefused."""
    if profile.agent_cpus is not None:
        return AgentCpus(_checked(host.topology, profile.agent_cpus), "listed in the profile")
    if profile.agent_cpuset is not None:
        return AgentCpus(_cpuset(host.topology, profile.agent_cpuset), "that cpuset's CPUs")
    found = (
        _own_affinity(host)
        or _isolated(host, profile.pin_agent)
        or _seen_running(host, measurement)
    )
    if found is None:
        raise PlanRefused(
            f"nothing shows which CPUs are the agent's: {_lacking(host, measurement)}",
            hint=WHAT_TO_GIVE,
        )
    return found


def isolated_cpus(topology: Topology) -> CpuMask:
    """Online CPUs kept free of general work: isolcpus and isolated cpuset partitions."""
    cpus = topology.isolated or CpuMask()
    for partition in topology.partitions or ():
        # An invalid one reads 'isolated invalid (reason)' (cpuset_partition_show, v6.12).
        if partition.state == "isolated":
            cpus |= partition.cpus
    return cpus & topology.online


def _checked(topology: Topology, cpus: CpuMask) -> CpuMask:
    known = CpuMask.of(cpu.cpu for cpu in topology.cpus)
    if cpus - known:
        raise PlanRefused(
            f"agent CPUs {cpus} include {cpus - known}, but this host has CPUs {known}",
            hint="Correct agent.cpus in the profile.",
        )
    if cpus - topology.online:
        raise PlanRefused(
            f"agent CPUs {cpus} include {cpus - topology.online}, offline here; "
            f"online are {topology.online}",
            hint="Bring them online, or correct agent.cpus in the profile.",
        )
    if not cpus:
        raise PlanRefused("the list of agent CPUs is empty", hint=WHAT_TO_GIVE)
    return cpus


def _cpuset(topology: Topology, path: str) -> CpuMask:
    for partition in topology.partitions or ():
        if partition.cgroup == path:
            cpus = partition.cpus & topology.online
            if cpus:
                return cpus
            raise PlanRefused(
                f"cpuset {path} has CPUs '{partition.cpus}', none of them online",
                hint="Give the cpuset CPUs, or give agent.cpus a list.",
            )
    known = ", ".join(partition.cgroup for partition in topology.partitions or ())
    raise PlanRefused(
        f"this host shows no cpuset {path} (it shows: {known or 'none'})",
        hint="Give agent.cpus a list, or the path of one of these cpusets.",
    )


def _own_affinity(host: Host) -> AgentCpus | None:
    # isolcpus takes its CPUs out of every task's mask: that is nobody's choice for the agent.
    general = host.topology.online - isolated_cpus(host.topology)
    narrow = [
        task.affinity & host.topology.online for task in host.agents if general - task.affinity
    ]
    cpus = CpuMask()
    for affinity in narrow:
        cpus |= affinity
    if not cpus:
        return None
    count = f"{len(narrow)} of {len(host.agents)} agent threads"
    return AgentCpus(cpus, f"{count} may only run there")


def _isolated(host: Host, pin: bool) -> AgentCpus | None:
    """CPUs set aside, if the agent may run there already or is about to be pinned there."""
    cpus = isolated_cpus(host.topology)
    if host.agents and not pin:
        allowed = CpuMask()
        for task in host.agents:
            allowed |= task.affinity
        cpus &= allowed
    return AgentCpus(cpus, "isolated CPUs") if cpus else None


def _seen_running(host: Host, measurement: Measurement | None) -> AgentCpus | None:
    if measurement is None:
        return None
    run_ns: dict[int, int] = {}
    for load in measurement.agents:
        run_ns[load.cpu] = run_ns.get(load.cpu, 0) + load.run_ns
    total_ns = sum(run_ns.values())
    often = [cpu for cpu, ns in run_ns.items() if ns and ns * 100 >= MIN_RUN_SHARE_PCT * total_ns]
    cpus = CpuMask.of(often) & host.topology.online
    seconds = f"{measurement.window_ns / 1e9:.1f} s"
    return AgentCpus(cpus, f"the agent was seen running there in {seconds}") if cpus else None


def _lacking(host: Host, measurement: Measurement | None) -> str:
    tasks = "may run on every online CPU" if host.agents else "was not found running"
    seen = "did not see it run" if measurement else "is missing"
    return f"the agent {tasks}, no CPU is isolated for it, a measurement {seen}"
