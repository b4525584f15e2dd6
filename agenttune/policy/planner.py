# SPDX-License-Identifier: GPL-2.0-only
"""Planner: a Host under a Profile to a Plan, without touching anything.

The order of changes: irqbalance's bans first, or it moves a vector again before its ban. Host-wide
limits next, with the default affinity, so that a device that appears meanwhile starts right. Then
the vectors, their threads (NAPI's too), and the packet steering that follows them. The agent is
pinned onto CPUs that are quiet by then. The kernel module comes last, so that a revert switches it
off and unloads it before it puts back what the module might otherwise move.
"""

from __future__ import annotations

from dataclasses import replace

from agenttune.host.host import Host, Vector
from agenttune.measure.measurement import Measurement
from agenttune.policy.budget import budget_changes
from agenttune.policy.evidence import host_evidence
from agenttune.policy.loads import Loads, host_loads
from agenttune.policy.module import module_changes
from agenttune.policy.napi_threads import napi_thread_changes
from agenttune.policy.placement import Move, place_vectors
from agenttune.policy.plan import Change, Knob, KnobKind, Plan
from agenttune.policy.profile import Placement, Profile
from agenttune.policy.restless import restless_notes
from agenttune.policy.rivals import irqbalance_bans, irqbalance_notes, rival_notes
from agenttune.policy.roles import Roles, cpu_roles
from agenttune.policy.steering import default_affinity_change, steering_changes
from agenttune.policy.threads import thread_changes
from agenttune.policy.unmovable import unmovable_vectors, unread_notes, unsure_notes
from agenttune.policy.vectors import vector_change


def make_plan(host: Host, profile: Profile, measurement: Measurement | None = None) -> Plan:
    """What `profile` asks of `host`, in the order to apply it. Raises PlanRefused.

    Planning again on the changed host gives no change.
    """
    host = replace(host, vectors=tuple(sorted(host.vectors, key=_device_order)))
    roles = cpu_roles(host, profile, measurement)
    loads = host_loads(host, measurement)
    moves = _moves(host, profile, roles, loads)
    placed = profile.placement is not None
    budgets, budget_notes = budget_changes(host, profile.softirq, measurement)
    moved = [move.vector.irq for move in moves]
    threads, thread_notes = thread_changes(host, roles, moved) if placed else ((), ())
    module, unmet, module_notes = module_changes(host, profile, roles)
    changes = (
        *irqbalance_bans(host, moves),
        *budgets,
        *default_affinity_change(host, profile, roles),
        *_vector_changes(host, profile, roles, moves, measurement),
        *threads,
        *(napi_thread_changes(host, roles, moves) if placed else ()),
        *steering_changes(host, profile, roles, moves),
        *_pins(host, profile, roles),
        *module,
    )
    return Plan(
        profile=profile.name,
        boot_id=host.boot_id,
        agent_cpus=roles.agent,
        avoided_cpus=roles.avoided,
        housekeeping_cpus=roles.housekeeping,
        changes=changes,
        unmovable=unmovable_vectors(host, roles) if placed else (),
        unmet=unmet,
        notes=(
            *roles.notes,
            *_basis_notes(host, loads, moves, measurement),
            *budget_notes,
            *thread_notes,
            *module_notes,
            *restless_notes(roles.avoided, host, moves, measurement),
            *(_placing_notes(host, roles) if placed else ()),
            *rival_notes(host, changes),
            *_pin_notes(host, profile),
        ),
    )


def _placing_notes(host: Host, roles: Roles) -> tuple[str, ...]:
    return (*unread_notes(host), *irqbalance_notes(host, roles))


def _device_order(vector: Vector) -> tuple[str, int, str]:
    """IRQ numbers change from boot to boot; a device's place does not."""
    return vector.key.device, vector.key.entry, vector.key.action


def _moves(host: Host, profile: Profile, roles: Roles, loads: Loads) -> tuple[Move, ...]:
    if profile.placement is None:
        return ()
    return place_vectors(host, roles, profile.placement, loads)


def _vector_changes(
    host: Host,
    profile: Profile,
    roles: Roles,
    moves: tuple[Move, ...],
    measurement: Measurement | None,
) -> tuple[Change, ...]:
    evidence = host_evidence(host, measurement)
    placement = profile.placement or Placement.AWAY
    return tuple(vector_change(move, roles, placement, evidence) for move in moves)


def _pins(host: Host, profile: Profile, roles: Roles) -> tuple[Change, ...]:
    if not profile.pin_agent:
        return ()
    return tuple(
        Change(
            knob=Knob(KnobKind.TASK_AFFINITY, f"{task.pid}@{task.start_ticks}"),
            before=str(task.affinity),
            wanted=str(roles.agent),
            label=f"{task.comm} (pid {task.pid})",
            reason=f"the profile pins the agent to its CPUs {roles.agent}",
        )
        for task in sorted(host.agents, key=lambda task: task.pid)
        if task.affinity != roles.agent
    )


def _pin_notes(host: Host, profile: Profile) -> tuple[str, ...]:
    if not profile.pin_agent or host.agents:
        return ()
    selectors = ", ".join(map(str, profile.selectors)) or "none given"
    return (f"no agent thread found (selectors: {selectors}): nothing is pinned",)


def _basis_notes(
    host: Host, loads: Loads, moves: tuple[Move, ...], measurement: Measurement | None
) -> tuple[str, ...]:
    notes = []
    if any(move.target is not None for move in moves):
        basis = loads.unit or "number of vectors: nothing tells their load"
        notes.append(f"vectors are balanced by {basis}")
    if measurement and host.boot_id and measurement.boot_id not in (None, host.boot_id):
        notes.append("the measurement is from another boot: vectors are matched by device")
    return (*notes, *unsure_notes(moves))
