# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module: its load and its settings as changes, or why this host cannot have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agenttune.errors import PlanRefused
from agenttune.host.host import Host, KernelModule
from agenttune.policy.plan import LOADED, NOT_LOADED, Change, Knob, KnobKind, Unmet
from agenttune.policy.profile import ModuleWish, Profile
from agenttune.policy.roles import Roles

MODULE = "agent_latency"
AGENT_CPUS = "agent_cpus"
NAPI_BUDGET = "agent_napi_budget"
SOFTIRQ_BUDGET_NS = "agent_softirq_budget_ns"
PLACEMENT = "placement"
PLACEMENT_WINDOW_MS = "placement_window_ms"
PLACEMENT_QUIET_PCT = "placement_quiet_pct"

# What each reads right after a load without parameters (kmod/README.md), in the order to set them:
# which CPUs first, whether interrupts move last. All are off.
DEFAULTS: Mapping[str, str] = {
    AGENT_CPUS: "",
    NAPI_BUDGET: "0",
    SOFTIRQ_BUDGET_NS: "0",
    PLACEMENT_WINDOW_MS: "100",
    PLACEMENT_QUIET_PCT: "25",
    PLACEMENT: "off",
}
_WHY = {
    AGENT_CPUS: "the CPUs that count as the agent's even before it attaches: the plan's agent CPUs",
    NAPI_BUDGET: "the profile bounds the packets of one net_rx_action on an agent CPU",
    SOFTIRQ_BUDGET_NS: "the profile bounds the time of one net_rx_action on an agent CPU",
    PLACEMENT_WINDOW_MS: "the profile sets the window in which the module measures noise",
    PLACEMENT_QUIET_PCT: "the profile sets how much interrupt work a quiet CPU may have",
    PLACEMENT: "the profile lets the module keep the vectors of attached agents {}",
}
_UNITS = {
    AGENT_CPUS: "CPU list",
    NAPI_BUDGET: "packets",
    SOFTIRQ_BUDGET_NS: "ns",
    PLACEMENT_WINDOW_MS: "ms",
    PLACEMENT_QUIET_PCT: "%",
    PLACEMENT: "mode",
}


def module_changes(
    host: Host, profile: Profile, roles: Roles
) -> tuple[tuple[Change, ...], tuple[Unmet, ...], tuple[str, ...]]:
    """Changes, what cannot be done, and notes. Raises PlanRefused for a required module."""
    wish = profile.module
    if not wish.load:
        return (), (), ()
    unmet = _unmet(host.module)
    if unmet and wish.required:
        raise PlanRefused(
            f"the profile requires the kernel module {MODULE}, but {unmet.why}", hint=unmet.remedy
        )
    if unmet or host.module is None:
        return (), (unmet,) if unmet else (), ()
    changes = plan_changes(host.module, wanted_settings(wish, roles), optional=not wish.required)
    return changes, (), tuple(_notes(host, profile, roles))


def plan_changes(
    module: KernelModule, wanted: Mapping[str, str], *, optional: bool = False
) -> tuple[Change, ...]:
    """The load, where it is not loaded, then each setting that differs."""
    present = DEFAULTS if module.loaded is None else module.settings or {}
    load = () if module.loaded is not None else (_load_change(module, optional),)
    settings = tuple(
        _setting_change(name, present[name], wanted[name], optional)
        for name in DEFAULTS
        if name in wanted and name in present and wanted[name] != present[name]
    )
    return (*load, *settings)


def wanted_settings(wish: ModuleWish, roles: Roles) -> dict[str, str]:
    """The value of each sysctl that the profile decides about."""
    budget_ns = None if wish.softirq_budget_us is None else wish.softirq_budget_us * 1000
    values = {
        AGENT_CPUS: roles.agent or None,
        NAPI_BUDGET: wish.napi_budget,
        SOFTIRQ_BUDGET_NS: budget_ns,
        PLACEMENT_WINDOW_MS: wish.placement_window_ms,
        PLACEMENT_QUIET_PCT: wish.placement_quiet_pct,
        PLACEMENT: wish.placement,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def bounds_softirqs(wish: ModuleWish) -> bool:
    return bool(wish.load and (wish.napi_budget or wish.softirq_budget_us))


def _unmet(module: KernelModule | None) -> Unmet | None:
    what = f"load the kernel module {MODULE}"
    if module is None:
        return Unmet(what, "this recording does not tell about it", "Plan on the live host.")
    if module.obstacle:
        return Unmet(what, module.obstacle, module.remedy)
    return None


def _load_change(module: KernelModule, optional: bool) -> Change:
    return Change(
        knob=Knob(KnobKind.MODULE, MODULE),
        before=NOT_LOADED,
        wanted=LOADED,
        label=f"kernel module {MODULE}",
        reason="the profile wants the module's attribution, bounds or placement",
        evidence=(f"from {module.file}; it does nothing until a setting or an agent says so",),
        optional=optional,
    )


def _setting_change(name: str, before: str, wanted: str, optional: bool) -> Change:
    return Change(
        knob=Knob(KnobKind.MODULE_SETTING, name),
        before=before,
        wanted=wanted,
        label=f"kernel.{MODULE}.{name} ({_UNITS[name]})",
        reason=_WHY[name].format(wanted),
        optional=optional,
    )


def _notes(host: Host, profile: Profile, roles: Roles) -> Iterator[str]:
    wish = profile.module
    if not roles.agent:
        yield f"{AGENT_CPUS} is left alone: only CPUs where attached threads ran count as agent's"
    if host.module is not None and host.module.loaded is not None:
        yield f"{MODULE} is loaded already: only settings that differ are changed"
    if wish.placement not in (None, "off") and profile.placement is not None:
        yield (
            "the module places vectors too, after this plan did: 'status' shows those it moved as "
            "drifted until 'revert' switches it off first"
        )
    if bounds_softirqs(wish):
        threaded = sorted({interface.name for interface in host.interfaces if interface.threaded})
        for name in threaded:
            yield (
                f"{name} polls in NAPI threads, which the module does not bound: placing "
                "interrupts keeps these threads off the agent's cores"
            )
