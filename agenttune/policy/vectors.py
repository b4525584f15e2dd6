# SPDX-License-Identifier: GPL-2.0-only
"""Vector changes: each move with the words that explain it."""

from __future__ import annotations

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Vector
from agenttune.policy.evidence import Evidence, of_target, of_vector
from agenttune.policy.placement import Move
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.profile import Placement
from agenttune.policy.roles import Roles


def vector_change(move: Move, roles: Roles, placement: Placement, evidence: Evidence) -> Change:
    vector = move.vector
    reason = _why(move, roles, placement)
    facts = of_vector(evidence, vector, move.offending)
    if move.target is None:
        facts += (f"it runs on CPU {vector.effective}, which it keeps",)
    else:
        facts += of_target(evidence, move.target, move.tier.near if move.tier else "")
    return Change(
        knob=Knob(KnobKind.VECTOR_AFFINITY, str(vector.key)),
        before=str(vector.affinity),
        wanted=str(move.wanted),
        label=vector_label(vector),
        reason=f"{reason}; {move.remote_why}" if move.remote_why else reason,
        evidence=facts,
    )


def vector_label(vector: Vector) -> str:
    return f"irq {vector.irq} {vector.key.action} ({vector.key.device})"


def _why(move: Move, roles: Roles, placement: Placement) -> str:
    vector = move.vector
    here = (vector.effective or CpuMask()) & move.offending
    if placement is Placement.SAME:
        return f"CPUs {move.offending} are not the agent's CPUs {roles.agent}"
    bad = here or move.offending
    if not bad & roles.cores:
        return f"CPUs {bad} are not among those near the agent"
    if not here:
        return f"its mask {vector.affinity} includes agent cores {bad & roles.cores}"
    cpu = (bad & roles.cores).first()
    return f"CPU {cpu} is an agent core" if cpu in roles.agent else _sibling(cpu, roles)


def _sibling(cpu: int, roles: Roles) -> str:
    return f"CPU {cpu} is an SMT sibling of the agent's CPUs {roles.agent}"
