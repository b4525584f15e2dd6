# SPDX-License-Identifier: GPL-2.0-only
"""Rivals: the other writers of the knobs that a plan changes."""

from __future__ import annotations

from collections.abc import Iterable

from agenttune.host.host import Host, Writer
from agenttune.policy.placement import Move
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.roles import Roles

IRQBALANCE = "irqbalance"


def irqbalance_bans(host: Host, moves: Iterable[Move]) -> tuple[Change, ...]:
    """Ban the vectors that move, so that irqbalance does not move them back.

    `before` is empty: the bans are irqbalance's own configuration, read when they are merged.
    """
    irqs = sorted(move.vector.irq for move in moves)
    active = _active_irqbalance(host)
    if not irqs or active is None:
        return ()
    return (
        Change(
            knob=Knob(KnobKind.IRQBALANCE_BANS, ""),
            before="",
            wanted=",".join(map(str, irqs)),
            label="irqbalance bans",
            reason="irqbalance is active and would move these vectors again",
            evidence=(active.detail,) if active.detail else (),
        ),
    )


def irqbalance_notes(host: Host, roles: Roles) -> tuple[str, ...]:
    """Bans of vectors do not bind those that are not banned; only irqbalance's CPU list does."""
    if _active_irqbalance(host) is None or not roles.avoided:
        return ()
    return (
        "irqbalance is active and may still place other vectors on the agent's cores: set "
        f"IRQBALANCE_BANNED_CPULIST={roles.avoided} in its configuration",
    )


def _active_irqbalance(host: Host) -> Writer | None:
    active = (writer for writer in host.writers if writer.name == IRQBALANCE and writer.active)
    return next(active, None)


def rival_notes(host: Host, changes: Iterable[Change]) -> tuple[str, ...]:
    """Who may undo the plan. An active irqbalance is dealt with by bans, and is not named."""
    kinds = {str(change.knob.kind) for change in changes}
    notes = []
    for writer in host.writers:
        shared = [kind for kind in writer.writes if kind in kinds]
        handled = writer.name == IRQBALANCE and writer.active
        if shared and not handled and writer.active is not False:
            notes.append(_note(writer, ", ".join(shared)))
    return tuple(notes)


def _note(writer: Writer, shared: str) -> str:
    state = "is active" if writer.active else "is installed (whether it runs is unknown)"
    return (
        f"{writer.name} {state} and also writes {shared} ({writer.detail}): it may undo this "
        "plan; stop it or remove these settings from it"
    )
