# SPDX-License-Identifier: GPL-2.0-only
"""Steady: an arm makes the same changes in every round."""

from __future__ import annotations

from dataclasses import replace

from agenttune.policy.plan import Plan


def steady(plan: Plan, first: Plan | None) -> Plan:
    """A later round's plan, with the values of the arm's `first` one where both set a knob.

    A host is not quite the same in each round: a vector may still be where irqbalance left it,
    and another target would be as good by then. The comparison is of one set of changes.
    """
    if first is None:
        return plan
    known = {change.knob: change for change in first.changes}
    changes = (
        replace(known[change.knob], before=change.before) if change.knob in known else change
        for change in plan.changes
    )
    return replace(plan, changes=tuple(changes))
