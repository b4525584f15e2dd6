# SPDX-License-Identifier: GPL-2.0-only
"""Roles: which CPUs are the agent's, which are avoided for its sake, which take the work."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.errors import PlanRefused
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Topology
from agenttune.measure.measurement import Measurement
from agenttune.policy.agents import agent_cpus, isolated_cpus
from agenttune.policy.profile import Placement, Profile


@dataclass(frozen=True, slots=True)
class Roles:
    """`cores` are the agent's CPUs with their SMT siblings; `avoided` those no interrupt may use.

    `avoided` is `cores`, or empty when interrupts are to share the agent's CPUs.
    """

    agent: CpuMask
    cores: CpuMask
    avoided: CpuMask
    housekeeping: CpuMask
    notes: tuple[str, ...] = ()


def cpu_roles(host: Host, profile: Profile, measurement: Measurement | None) -> Roles:
    """Raises PlanRefused, with the arithmetic, when no CPU is left for the work."""
    if not needs_agent_cpus(profile):
        return _without_agent(host, profile, measurement)
    found = agent_cpus(host, profile, measurement)
    cores = with_siblings(host.topology, found.cpus)
    same = profile.placement is Placement.SAME
    housekeeping, notes = _housekeeping(host.topology, profile, found.cpus, cores)
    if not housekeeping and not same:
        raise _nothing_left(host.topology, profile, found.cpus, cores)
    return Roles(
        agent=found.cpus,
        cores=cores,
        avoided=CpuMask() if same else cores,
        housekeeping=housekeeping,
        notes=(
            f"agent CPUs {found.cpus}: {found.source}",
            *notes,
            *_unknown_siblings(host.topology, found.cpus),
        ),
    )


def needs_agent_cpus(profile: Profile) -> bool:
    return (
        profile.placement is not None
        or profile.pin_agent
        or profile.default_affinity
        or profile.steer_rps
        or profile.steer_xps
    )


def with_siblings(topology: Topology, cpus: CpuMask) -> CpuMask:
    """`cpus` and the SMT threads that share their cores, as far as the host tells."""
    cores = cpus
    for cpu in topology.cpus:
        if cpu.cpu in cpus and cpu.siblings is not None:
            cores |= cpu.siblings
    return cores


def narrow(topology: Topology, roles: Roles, mask: CpuMask) -> CpuMask:
    """`mask` limited to housekeeping CPUs; all of these if it has none.

    Offline CPUs stay in it: nobody decided about them.
    """
    kept = mask - roles.avoided - (topology.online - roles.housekeeping)
    return kept if kept & topology.online else roles.housekeeping


def _without_agent(host: Host, profile: Profile, measurement: Measurement | None) -> Roles:
    """A profile that changes nothing near an agent need not know where the agent is."""
    try:
        found = agent_cpus(host, profile, measurement)
    except PlanRefused as refused:
        return Roles(CpuMask(), CpuMask(), CpuMask(), host.topology.online, (refused.message,))
    cores = with_siblings(host.topology, found.cpus)
    housekeeping, notes = _housekeeping(host.topology, profile, found.cpus, cores)
    source = f"agent CPUs {found.cpus}: {found.source}"
    return Roles(found.cpus, cores, CpuMask(), housekeeping, (source, *notes))


def _housekeeping(
    topology: Topology, profile: Profile, agent: CpuMask, cores: CpuMask
) -> tuple[CpuMask, tuple[str, ...]]:
    wanted = profile.housekeeping_cpus
    if wanted is None:
        return topology.online - cores - quiet_cpus(topology), ()
    if wanted & cores:
        raise PlanRefused(
            f"housekeeping CPUs {wanted} and agent cores {cores} "
            f"(agent CPUs {agent} with their SMT siblings) share {wanted & cores}",
            hint="Take them out of housekeeping.cpus, or move the agent.",
        )
    missing = wanted - topology.online
    notes = (f"housekeeping CPUs {missing} are not online: left out",) if missing else ()
    return wanted & topology.online, notes


def quiet_cpus(topology: Topology) -> CpuMask:
    """Online CPUs that somebody set aside, and that take no interrupts unless told to."""
    return isolated_cpus(topology) | (topology.nohz_full or CpuMask()) & topology.online


def _nothing_left(
    topology: Topology, profile: Profile, agent: CpuMask, cores: CpuMask
) -> PlanRefused:
    online = topology.online
    if profile.housekeeping_cpus is not None:
        return PlanRefused(
            f"no housekeeping CPU left: none of {profile.housekeeping_cpus} is online ({online})",
            hint="Correct housekeeping.cpus in the profile.",
        )
    siblings = (cores - agent) & online
    parts = [f"agent CPUs {agent}", f"siblings {siblings}" if siblings else "no siblings"]
    quiet = quiet_cpus(topology) - cores
    if quiet:
        parts.append(f"isolated CPUs {quiet}")
    return PlanRefused(
        f"no housekeeping CPU left: {', '.join(parts)} cover all {len(online)} online CPUs "
        f"({online})",
        hint="Give the agent fewer CPUs"
        + (", or list the isolated ones in housekeeping.cpus." if quiet else "."),
    )


def _unknown_siblings(topology: Topology, agent: CpuMask) -> tuple[str, ...]:
    unknown = CpuMask.of(
        cpu.cpu for cpu in topology.cpus if cpu.cpu in agent and cpu.siblings is None
    )
    if not unknown:
        return ()
    return (f"this host does not tell the SMT siblings of CPUs {unknown}: none are avoided",)
