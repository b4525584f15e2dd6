# SPDX-License-Identifier: GPL-2.0-only
"""A profile as text, includes merged."""

from __future__ import annotations

from agenttune.policy.profile import ModuleWish, Profile
from agenttune.report.table import table


def profile_text(profile: Profile) -> str:
    """Every setting with what it means when it is left open."""
    leave = "leave as it is"
    rows = (
        ("agent selectors", ", ".join(map(str, profile.selectors)) or "none"),
        ("agent CPUs", profile.agent_cpuset or profile.agent_cpus or "auto"),
        ("pin the agent", _yes(profile.pin_agent)),
        ("housekeeping CPUs", profile.housekeeping_cpus or "auto"),
        ("interrupt placement", profile.placement or leave),
        ("default affinity", "off the agent's CPUs" if profile.default_affinity else leave),
        ("RPS masks", "off the agent's CPUs" if profile.steer_rps else leave),
        ("XPS masks", "off the agent's CPUs" if profile.steer_xps else leave),
        ("net.core.netdev_budget", profile.softirq.netdev_budget or leave),
        ("net.core.netdev_budget_usecs", profile.softirq.netdev_budget_usecs or leave),
        ("net.core.dev_weight", profile.softirq.dev_weight or leave),
        *_module_rows(profile.module),
    )
    head = f"profile {profile.name}: {profile.description}\n"
    return head + table(("setting", "value"), rows)


def _module_rows(wish: ModuleWish) -> tuple[tuple[str, object], ...]:
    if not wish.load:
        return (("kernel module", "leave as it is"),)
    values = (
        ("module placement", wish.placement),
        ("module placement window, ms", wish.placement_window_ms),
        ("module quiet limit, %", wish.placement_quiet_pct),
        ("module NAPI budget, packets", wish.napi_budget),
        ("module softirq budget, us", wish.softirq_budget_us),
    )
    rows = ((name, "leave as it is" if value is None else value) for name, value in values)
    return (("kernel module", "load (required)" if wish.required else "load"), *rows)


def _yes(wanted: bool) -> str:
    return "yes" if wanted else "no"
