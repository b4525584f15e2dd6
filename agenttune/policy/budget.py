# SPDX-License-Identifier: GPL-2.0-only
"""Budget: the host-wide limits of a softirq run."""

from __future__ import annotations

from agenttune.host.host import Host
from agenttune.measure.measurement import Measurement
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.profile import SoftirqBudget

NETDEV_BUDGET = "net.core.netdev_budget"
NETDEV_BUDGET_USECS = "net.core.netdev_budget_usecs"
DEV_WEIGHT = "net.core.dev_weight"


def budget_changes(
    host: Host, budget: SoftirqBudget, measurement: Measurement | None
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Changes for the limits that differ, then notes on those this host does not show."""
    wanted = (
        (NETDEV_BUDGET, budget.netdev_budget, "packets"),
        (NETDEV_BUDGET_USECS, budget.netdev_budget_usecs, "us"),
        (DEV_WEIGHT, budget.dev_weight, "packets"),
    )
    changes, notes = [], []
    for name, value, unit in wanted:
        present = (host.sysctls or {}).get(name)
        if value is None or value == present:
            continue
        if present is None:
            notes.append(f"{name} cannot be read on this host: left alone")
            continue
        changes.append(
            Change(
                knob=Knob(KnobKind.SYSCTL, name),
                before=str(present),
                wanted=str(value),
                label=f"{name} ({unit}, whole host)",
                reason="the profile bounds softirq runs",
                evidence=_squeezes(measurement),
            )
        )
    return tuple(changes), tuple(notes)


def _squeezes(measurement: Measurement | None) -> tuple[str, ...]:
    if measurement is None:
        return ()
    count = sum(squeeze.count for squeeze in measurement.squeezes)
    seconds = f"{measurement.window_ns / 1e9:.1f} s"
    return (f"{count} runs ended with work left in {seconds} (time_squeeze)",)
