# SPDX-License-Identifier: GPL-2.0-only
"""A plan as a readable diff."""

from __future__ import annotations

from agenttune.policy.plan import Change, KnobKind, Plan


def plan_text(plan: Plan) -> str:
    """The changes in order with reason and evidence, what cannot move or be done, notes."""
    parts = [_head(plan)]
    parts += [_change_text(number, change) for number, change in enumerate(plan.changes, 1)]
    if plan.unmovable:
        parts.append(f"\ncannot be moved ({len(plan.unmovable)}):\n")
        for unmovable in plan.unmovable:
            parts.append(
                f"  {unmovable.key} (irq {unmovable.irq}), {unmovable.why}, "
                f"on CPU {unmovable.cpus}\n"
                f"      remedy: {unmovable.remedy}\n"
            )
    if plan.unmet:
        parts.append(f"\ncannot be done ({len(plan.unmet)}):\n")
        for unmet in plan.unmet:
            parts.append(f"  {unmet.what}: {unmet.why}\n      remedy: {unmet.remedy}\n")
    if plan.notes:
        parts.append("\nnotes:\n")
        parts += [f"  {note}\n" for note in plan.notes]
    return "".join(parts)


def _head(plan: Plan) -> str:
    count = len(plan.changes)
    changes = "nothing to change" if not count else f"{count} change{'s' if count > 1 else ''}"
    return (
        f"plan {plan.profile}: {changes}\n"
        f"  agent CPUs {plan.agent_cpus or 'none'}, avoided with SMT siblings "
        f"{plan.avoided_cpus or 'none'}, housekeeping {plan.housekeeping_cpus or 'none'}\n"
    )


def _no_value(kind: KnobKind) -> str:
    return "none" if kind is KnobKind.MODULE_SETTING else "(read when applied)"


def _change_text(number: int, change: Change) -> str:
    lines = [
        f"\n{number}. {change.knob}",
        f"   {change.label}" if change.label else "",
        f"   - {change.before or _no_value(change.knob.kind)}",
        f"   + {change.wanted}",
        f"   why: {change.reason}",
        *(f"        {line}" for line in change.evidence),
    ]
    return "".join(f"{line}\n" for line in lines if line)
