# SPDX-License-Identifier: GPL-2.0-only
"""IRQ threads that do not follow a vector, because theirs is not moved."""

from __future__ import annotations

from collections.abc import Iterable

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Topology, Vector
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.roles import Roles, narrow
from agenttune.policy.vectors import vector_label


def thread_changes(
    host: Host, roles: Roles, moved: Iterable[int]
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Changes for IRQ threads on avoided CPUs whose vector stays, then notes on those left.

    A vector that gets a new affinity takes its threads along (irq_thread_check_affinity,
    kernel/irq/manage.c, v6.12) at its next interrupt; only threads of the others need a change.
    """
    gone = {*moved, *(vector.irq for vector in host.vectors if _is_pending(vector))}
    changes, notes = [], []
    for vector in host.vectors:
        masks = {thread.affinity for thread in vector.threads}
        if vector.irq in gone or not any(mask & roles.avoided for mask in masks):
            continue
        if len(masks) > 1:
            notes.append(f"{vector_label(vector)}: its threads have different masks; left alone")
            continue
        changes.append(_thread_change(host.topology, roles, vector, masks.pop()))
    return tuple(changes), tuple(notes)


def _is_pending(vector: Vector) -> bool:
    """Whether a new affinity waits for the vector's next interrupt."""
    if vector.affinity is None or vector.effective is None:
        return False
    return not vector.effective <= vector.affinity


def _thread_change(topology: Topology, roles: Roles, vector: Vector, mask: CpuMask) -> Change:
    effective = vector.effective or CpuMask()
    follows = bool(effective) and not effective & roles.avoided
    wanted = effective if follows else narrow(topology, roles, mask)
    names = ", ".join(f"{thread.comm} (pid {thread.pid})" for thread in vector.threads)
    where = "the vector's own CPU" if follows else "the vector itself stays where it is"
    return Change(
        knob=Knob(KnobKind.IRQ_THREAD_AFFINITY, str(vector.key)),
        before=str(mask),
        wanted=str(wanted),
        label=f"threads of {vector_label(vector)}",
        reason=f"its thread may run on agent cores {mask & roles.avoided}",
        evidence=(names, f"CPUs {wanted}: {where}" if follows else where),
    )
