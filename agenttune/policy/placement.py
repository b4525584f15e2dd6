# SPDX-License-Identifier: GPL-2.0-only
"""Placement: where each vector goes, queue by queue, least loaded of the nearest CPUs first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agenttune.errors import PlanRefused
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Movability, Topology, Vector
from agenttune.policy.balance import VECTORS_PER_CPU, Balance
from agenttune.policy.loads import Loads
from agenttune.policy.profile import Placement
from agenttune.policy.roles import Roles
from agenttune.policy.tiers import Tier, device_tiers, neighbourhood, node_cpus

MAY_MOVE = frozenset({Movability.MOVABLE, Movability.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one sort of vector may be. `forbidden` of them makes a vector move."""

    allowed: CpuMask
    forbidden: CpuMask


@dataclass(frozen=True, slots=True)
class Move:
    """A vector's new mask. `target` is None when only the mask shrinks and the vector stays put.

    `tier` is the target's; `remote_why` says why it is not on the device's node, if it is not.
    """

    vector: Vector
    wanted: CpuMask
    offending: CpuMask
    target: int | None = None
    tier: Tier | None = None
    remote_why: str = ""


@dataclass(slots=True)
class _Placer:
    """What the placing of one vector needs to know of the others."""

    topology: Topology
    roles: Roles
    balance: Balance
    loads: Loads
    in_use: Mapping[int, int]
    demand: Mapping[CpuMask, int]
    nodes: dict[int, CpuMask]
    tiers: dict[tuple[CpuMask, int | None], tuple[Tier, ...]] = field(default_factory=dict)


def vector_rules(host: Host, roles: Roles, placement: Placement) -> tuple[Rule, Rule]:
    """The rule for vectors of disks and network queues, then the rule for all others."""
    online = host.topology.online
    away = Rule(roles.housekeeping, roles.avoided)
    if placement is Placement.AWAY:
        return away, away
    if placement is Placement.SAME:
        return Rule(roles.agent, online - roles.agent), Rule(online, CpuMask())
    around = neighbourhood(host.topology, roles.agent)
    near = roles.housekeeping & around.l3 or roles.housekeeping & around.nodes or roles.housekeeping
    return Rule(near, online - near), away


def place_vectors(host: Host, roles: Roles, placement: Placement, loads: Loads) -> tuple[Move, ...]:
    """New masks for the vectors that break their rule, in the host's order. Raises PlanRefused.

    Vectors of one queue go to one CPU. The heaviest queues are placed first, equal ones in the
    host's order; a CPU's number breaks the last tie, so equal hosts get equal plans.
    """
    io_rule, other_rule = vector_rules(host, roles, placement)
    rules = {v.irq: io_rule if v.interface or v.block else other_rule for v in host.vectors}
    moving = [v for v in host.vectors if _must_move(v, rules[v.irq])]
    placer = _placer(host, roles, loads, moving, rules)
    moves = [_narrowed(v, rules[v.irq]) for v in host.vectors if _may_narrow(v, rules[v.irq])]
    queues = _queues(host.vectors)
    for group in _by_weight(moving, loads):
        moves += _place_group(placer, rules[group[0].irq], group, queues.get(_queue(group[0]), ()))
    order = {vector.irq: place for place, vector in enumerate(host.vectors)}
    return tuple(sorted(moves, key=lambda move: order[move.vector.irq]))


def occupied(vector: Vector) -> CpuMask:
    """The CPUs where a vector is or may come to be."""
    return (vector.affinity or CpuMask()) | (vector.effective or CpuMask())


def _breaks(vector: Vector, rule: Rule) -> bool:
    return (
        vector.movability in MAY_MOVE
        and vector.affinity is not None
        and bool(occupied(vector) & rule.forbidden)
        and not _leaves_by_itself(vector.affinity, rule)
    )


def _leaves_by_itself(affinity: CpuMask, rule: Rule) -> bool:
    """Whether the vector's mask is right, so that its next interrupt takes it to an allowed CPU."""
    # Without interrupt remapping a written mask waits for that (irq_move_masked_irq,
    # kernel/irq/migration.c, v6.12); the effective affinity is the old one until then.
    return bool(affinity & rule.allowed) and not affinity & rule.forbidden


def _kept(vector: Vector, rule: Rule) -> CpuMask:
    return (vector.affinity or CpuMask()) - rule.forbidden


def _may_narrow(vector: Vector, rule: Rule) -> bool:
    """Whether it runs on a good CPU already, and only its mask is too wide."""
    # x86 does not move a vector whose CPU stays in its mask (assign_vector_locked,
    # arch/x86/kernel/apic/vector.c, v6.12).
    effective = vector.effective or CpuMask()
    return _breaks(vector, rule) and bool(effective) and effective <= _kept(vector, rule)


def _must_move(vector: Vector, rule: Rule) -> bool:
    return _breaks(vector, rule) and not _may_narrow(vector, rule)


def _narrowed(vector: Vector, rule: Rule) -> Move:
    offending = occupied(vector) & rule.forbidden
    return Move(vector, _kept(vector, rule), offending)


def _placer(
    host: Host, roles: Roles, loads: Loads, moving: list[Vector], rules: Mapping[int, Rule]
) -> _Placer:
    """The balance starts from what stays: moving vectors take their load and their slot along."""
    load = dict(loads.by_cpu)
    demand: dict[CpuMask, int] = {}
    for vector in moving:
        for cpu, weight in loads.by_vector.get(vector.irq, {}).items():
            load[cpu] -= weight
        allowed = rules[vector.irq].allowed
        demand[allowed] = demand.get(allowed, 0) + 1
    gone = {vector.irq for vector in moving}
    used: dict[int, int] = {}
    for vector in host.vectors:
        if vector.irq not in gone:
            for cpu in vector.effective or _single(vector.affinity):
                used[cpu] = used.get(cpu, 0) + 1
    nodes = node_cpus(host.topology)
    return _Placer(host.topology, roles, Balance(load, used), loads, used, demand, nodes)


def _single(affinity: CpuMask | None) -> CpuMask:
    """A mask of one CPU says where the vector is; a wider one does not."""
    return affinity if affinity is not None and len(affinity) == 1 else CpuMask()


def _queue(vector: Vector) -> tuple[str, str, int]:
    """Vectors with equal keys serve one queue; a vector of no known queue is alone."""
    if vector.interface is None or vector.queue is None:
        return vector.key.device, "", vector.irq
    return vector.key.device, vector.interface, vector.queue


def _queues(vectors: Iterable[Vector]) -> dict[tuple[str, str, int], list[Vector]]:
    queues: dict[tuple[str, str, int], list[Vector]] = {}
    for vector in vectors:
        queues.setdefault(_queue(vector), []).append(vector)
    return queues


def _by_weight(moving: list[Vector], loads: Loads) -> list[list[Vector]]:
    groups = list(_queues(moving).values())
    return sorted(groups, key=lambda group: -sum(loads.weight(v.irq) for v in group))


def _place_group(
    placer: _Placer, rule: Rule, group: list[Vector], queue: Iterable[Vector]
) -> list[Move]:
    tiers = _tiers(placer, rule.allowed, group[0].node)
    beside = _staying_cpu(placer, rule, queue, tiers, len(group))
    target = beside if beside is not None else _choose(placer, tiers, group)
    if target is None and len(group) > 1:
        # No CPU has room for the whole queue.
        return [move for v in group for move in _place_group(placer, rule, [v], ())]
    if target is None:
        raise _no_room(placer, rule.allowed)
    tier = next(tier for tier in tiers if target in tier.cpus)
    remote_why = "" if tier.local else _remote_why(placer, tiers, group[0].node)
    moves = []
    for vector in group:
        placer.balance.add(target, placer.loads.weight(vector.irq), 1)
        offending = occupied(vector) & rule.forbidden
        mask = CpuMask.of([target])
        moves.append(Move(vector, mask, offending, target, tier, remote_why))
    return moves


def _tiers(placer: _Placer, allowed: CpuMask, node: int | None) -> tuple[Tier, ...]:
    tiers = placer.tiers.get((allowed, node))
    if tiers is None:
        around = neighbourhood(placer.topology, placer.roles.agent)
        tiers = device_tiers(allowed, node, placer.nodes, around)
        placer.tiers[allowed, node] = tiers
    return tiers


def _staying_cpu(
    placer: _Placer, rule: Rule, queue: Iterable[Vector], tiers: tuple[Tier, ...], size: int
) -> int | None:
    """The CPU of a vector of the same queue that stays where it is, if it is a good one."""
    for vector in queue:
        effective = vector.effective or _single(vector.affinity)
        if len(effective) == 1 and effective <= rule.allowed:
            cpu = effective.first()
            near = any(cpu in tier.cpus for tier in tiers if tier.local or not tiers[0].local)
            if near and placer.balance.has_room(cpu, size):
                return cpu
    return None


def _choose(placer: _Placer, tiers: tuple[Tier, ...], group: list[Vector]) -> int | None:
    idle = not any(placer.loads.weight(vector.irq) for vector in group)
    for tier in tiers:
        cpu = placer.balance.choose(tier.cpus, len(group), idle)
        if cpu is not None:
            return cpu
    return None


def _remote_why(placer: _Placer, tiers: tuple[Tier, ...], node: int | None) -> str:
    if node is None:
        return "this host does not tell the device's NUMA node"
    if tiers[0].local:
        return f"the CPUs on the device's NUMA node {node} have no vector free"
    return f"no housekeeping CPU is on the device's NUMA node {node}"


def _no_room(placer: _Placer, allowed: CpuMask) -> PlanRefused:
    needed = sum(count for cpus, count in placer.demand.items() if cpus & allowed)
    used = sum(placer.in_use.get(cpu, 0) for cpu in allowed)
    room = len(allowed) * VECTORS_PER_CPU - used
    return PlanRefused(
        f"needs {needed} vectors on {len(allowed)} CPUs ({allowed}), room for "
        f"{len(allowed)} x {VECTORS_PER_CPU} - {used} in use = {room}",
        hint="Give more housekeeping CPUs, or give the devices fewer queues (ethtool -L).",
    )
