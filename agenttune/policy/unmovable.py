# SPDX-License-Identifier: GPL-2.0-only
"""Unmovable vectors: those on the agent's cores that user space cannot place."""

from __future__ import annotations

from collections.abc import Iterable

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Movability, Vector
from agenttune.policy.placement import MAY_MOVE, Move
from agenttune.policy.plan import Unmovable
from agenttune.policy.roles import Roles

REMEDIES = {
    Movability.MANAGED: (
        "The kernel owns this vector. Boot with isolcpus=managed_irq,{agent} (best effort), or "
        "give the device fewer queues, or keep the agent's I/O off that queue's CPUs."
    ),
    Movability.PER_CPU: "It fires on every CPU by design. Nothing can be moved.",
    Movability.NO_AFFINITY_FILE: (
        "The kernel offers no affinity for it. Unbind the device if it is not needed, or give the "
        "agent another CPU."
    ),
    Movability.UNKNOWN: "Its affinity could not be read here. Plan on the live host.",
}


def unmovable_vectors(host: Host, roles: Roles) -> tuple[Unmovable, ...]:
    """The vectors on avoided CPUs that no plan can move."""
    found = []
    for vector in host.vectors:
        movable = vector.movability in MAY_MOVE and vector.affinity is not None
        cpus = CpuMask() if movable else _where(vector) & roles.avoided
        if cpus:
            fileless = vector.movability is Movability.MOVABLE
            why = Movability.NO_AFFINITY_FILE if fileless else vector.movability
            remedy = REMEDIES[why].format(agent=roles.agent)
            found.append(Unmovable(vector.key, vector.irq, why, cpus, remedy))
    return tuple(found)


def unsure_notes(moves: Iterable[Move]) -> tuple[str, ...]:
    unsure = [m.vector.irq for m in moves if m.vector.movability is Movability.UNKNOWN]
    if not unsure:
        return ()
    irqs = ",".join(map(str, sorted(unsure)))
    return (
        f"irqs {irqs}: this kernel does not tell whether it manages them itself; "
        "apply learns it from the error of the write and leaves those alone",
    )


def unread_notes(host: Host) -> tuple[str, ...]:
    """How many vectors nothing is known of: a plan cannot promise anything about them."""
    unread = sum(1 for vector in host.vectors if vector.counts is None and not _where(vector))
    if not unread:
        return ()
    return (f"{unread} vectors tell neither affinity nor counts here: they are left alone",)


def _where(vector: Vector) -> CpuMask:
    """Where an unmovable vector fires: the effective CPUs, else its mask, else its counts."""
    if vector.effective:
        return vector.effective
    return vector.affinity or CpuMask.of(vector.counts or ())
