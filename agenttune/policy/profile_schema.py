# SPDX-License-Identifier: GPL-2.0-only
"""The keys of a profile: what each may hold, with the error that says what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from agenttune.errors import InputError
from agenttune.host.cpumask import CpuMask
from agenttune.host.selector import Selector
from agenttune.policy.profile import ModuleWish, Placement, Profile
from agenttune.policy.yaml_node import Mark, YamlList, YamlMap, YamlNode, YamlScalar, shown

LEAVE = "leave"
MAX_DESCRIPTION = 400

# net.core.netdev_budget and dev_weight take any int; a poll round above this is a mistake.
BUDGET_RANGE = (1, 100_000)
# The kernel's minimum is 2 s / HZ (net/core/sysctl_net_core.c, netdev_budget_usecs_min) and HZ is
# at most 1000 on x86; the maximum bounds one softirq run to a second.
USECS_RANGE = (2_000, 1_000_000)
# The module's own ranges (kmod/README.md); it refuses what is outside.
MODULE_PLACEMENTS = ("off", "away", "near", "same")
MODULE_RANGES: Mapping[str, tuple[str, tuple[int, int], str]] = {
    "placement-window-ms": ("placement_window_ms", (10, 60_000), "milliseconds"),
    "placement-quiet-pct": ("placement_quiet_pct", (0, 100), "percent"),
    "napi-budget": ("napi_budget", (0, 65_535), "packets"),
    "softirq-budget-us": ("softirq_budget_us", (0, 10_000), "microseconds"),
}
MIN_SOFTIRQ_BUDGET_US = 10

Setter = Callable[[Profile, YamlNode], Profile]


def apply_settings(base: Profile, document: YamlMap) -> Profile:
    """`base` with the document's settings on top. Raises InputError with file:line:column."""
    profile = base
    for key, node in document.entries:
        if key.text == "include":
            continue
        if key.text == "description":
            profile = replace(profile, description=_description(node))
        elif key.text in SECTIONS:
            profile = _apply_section(profile, key, node)
        else:
            raise _unknown_key(key, ("description", "include", *SECTIONS), "")
    _refuse_overlap(profile, document)
    _refuse_unloaded(profile, document)
    return profile


def _apply_section(profile: Profile, name: YamlScalar, node: YamlNode) -> Profile:
    keys = SECTIONS[name.text]
    if not isinstance(node, YamlMap):
        example = f"put {_listed(keys)} below it, indented"
        raise node.mark.error(f"'{name.text}' must hold keys", example)
    for key, value in node.entries:
        if key.text not in keys:
            raise _unknown_key(key, tuple(keys), f" in '{name.text}'")
        profile = keys[key.text](profile, value)
    return profile


def _unknown_key(key: YamlScalar, known: tuple[str, ...], where: str) -> InputError:
    close = difflib.get_close_matches(key.text[:40], known, n=1, cutoff=0.5)
    right = f"did you mean '{close[0]}'?" if close else f"the keys are {_listed(known)}"
    return key.mark.error(f"unknown key {shown(key.text)}{where}", right)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _refuse_overlap(profile: Profile, document: YamlMap) -> None:
    shared = (profile.agent_cpus or CpuMask()) & (profile.housekeeping_cpus or CpuMask())
    if shared:
        mark = _mark_of(document, "housekeeping") or _mark_of(document, "agent") or document.mark
        raise mark.error(
            f"CPUs {shared} are both agent and housekeeping CPUs",
            "give each CPU to one of agent.cpus and housekeeping.cpus",
        )


def _refuse_unloaded(profile: Profile, document: YamlMap) -> None:
    """A setting of a module that is not to be loaded would say nothing."""
    wish = profile.module
    if wish.load or replace(wish, required=False) == ModuleWish():
        return
    mark = next((key.mark for key, _ in document.entries if key.text == "module"), document.mark)
    raise mark.error("'module' has settings, but is not loaded", "add 'load: true' to it")


def _mark_of(document: YamlMap, section: str) -> Mark | None:
    for key, node in document.entries:
        if key.text == section and isinstance(node, YamlMap):
            return next((value.mark for name, value in node.entries if name.text == "cpus"), None)
    return None


def scalar(node: YamlNode, right: str) -> str:
    """The text of a scalar that holds something. Raises InputError ending in `right`."""
    if not isinstance(node, YamlScalar):
        kind = "list" if isinstance(node, YamlList) else "mapping"
        raise node.mark.error(f"a {kind} is given where one value belongs", right)
    if not node.text.strip():
        raise node.mark.error("the value is missing", right)
    return node.text


def _plain(node: YamlNode, right: str) -> str:
    text = scalar(node, right)
    if isinstance(node, YamlScalar) and not node.plain:
        raise node.mark.error(f"{shown(text)} is quoted text", f"{right}, without quotes")
    return text


def _description(node: YamlNode) -> str:
    right = f"write one sentence of at most {MAX_DESCRIPTION} characters"
    text = " ".join(scalar(node, right).split())
    if len(text) > MAX_DESCRIPTION:
        raise node.mark.error(f"the description has {len(text)} characters", right)
    return text


def _boolean(node: YamlNode) -> bool:
    text = _plain(node, "write true or false")
    if text not in ("true", "false"):
        raise node.mark.error(f"{shown(text)} is neither true nor false", "write true or false")
    return text == "true"


def _cpu_list(node: YamlNode, right: str) -> CpuMask:
    text = scalar(node, right)
    try:
        cpus = CpuMask.parse_list(text)
    except ValueError as error:
        raise node.mark.error(f"{shown(text)} is not a CPU list ({error})", right) from None
    if not cpus:
        raise node.mark.error(f"{shown(text)} names no CPU", right)
    return cpus


def _agent_cpus(profile: Profile, node: YamlNode) -> Profile:
    right = "write auto, a list such as 2-3,6, or cpuset:/path of a cgroup"
    text = scalar(node, right)
    if text == "auto":
        return replace(profile, agent_cpus=None, agent_cpuset=None)
    if text.startswith("cpuset:"):
        path = text.removeprefix("cpuset:")
        if not path.startswith("/") or ".." in path.split("/"):
            raise node.mark.error(f"{shown(text)} is not an absolute cgroup path", right)
        return replace(profile, agent_cpus=None, agent_cpuset=path)
    return replace(profile, agent_cpus=_cpu_list(node, right), agent_cpuset=None)


def _housekeeping_cpus(profile: Profile, node: YamlNode) -> Profile:
    right = "write auto or a list such as 0-1,4"
    auto = scalar(node, right) == "auto"
    return replace(profile, housekeeping_cpus=None if auto else _cpu_list(node, right))


def _selectors(profile: Profile, node: YamlNode) -> Profile:
    if not isinstance(node, YamlList) or not node.items:
        raise node.mark.error("selectors is not a list", "write a list such as [comm:agent]")
    return replace(profile, selectors=tuple(_selector(item) for item in node.items))


def _selector(node: YamlNode) -> Selector:
    right = "write comm:NAME, pid:NUMBER, cgroup:/PATH or unit:NAME.service"
    text = scalar(node, right)
    try:
        return Selector.parse(text)
    except InputError as error:
        raise node.mark.error(error.message, error.hint.rstrip(".") or right) from None


def _placement(profile: Profile, node: YamlNode) -> Profile:
    right = "write away, near, same or leave"
    text = scalar(node, right)
    if text == LEAVE:
        return replace(profile, placement=None)
    if text not in list(Placement):
        raise node.mark.error(f"{shown(text)} is no placement", right)
    return replace(profile, placement=Placement(text))


def _budget(node: YamlNode, limits: tuple[int, int], unit: str) -> int | None:
    low, high = limits
    right = f"write a whole number of {unit} in {low}..{high}, or leave"
    text = _plain(node, right)
    if text == LEAVE:
        return None
    if not re.fullmatch(r"-?[0-9]+", text, re.ASCII):
        raise node.mark.error(f"{shown(text)} is not a whole number", right)
    # No number of ten digits is in any range, and int() is never given a long one.
    if len(text) > 9 or not low <= int(text) <= high:
        raise node.mark.error(f"{shown(text)} is out of range", right)
    return int(text)


def _netdev_budget(profile: Profile, node: YamlNode) -> Profile:
    value = _budget(node, BUDGET_RANGE, "packets")
    return replace(profile, softirq=replace(profile.softirq, netdev_budget=value))


def _netdev_budget_usecs(profile: Profile, node: YamlNode) -> Profile:
    value = _budget(node, USECS_RANGE, "microseconds")
    return replace(profile, softirq=replace(profile.softirq, netdev_budget_usecs=value))


def _dev_weight(profile: Profile, node: YamlNode) -> Profile:
    value = _budget(node, BUDGET_RANGE, "packets")
    return replace(profile, softirq=replace(profile.softirq, dev_weight=value))


def _module_placement(profile: Profile, node: YamlNode) -> Profile:
    right = f"write {_listed(MODULE_PLACEMENTS)} or leave"
    text = scalar(node, right)
    if text not in (*MODULE_PLACEMENTS, LEAVE):
        raise node.mark.error(f"{shown(text)} is no placement of the module", right)
    return _module(profile, placement=None if text == LEAVE else text)


def _module(profile: Profile, **wish: str | int | bool | None) -> Profile:
    return replace(profile, module=replace(profile.module, **wish))  # type: ignore[arg-type]


def _module_number(key: str) -> Setter:
    field, limits, unit = MODULE_RANGES[key]

    def setter(profile: Profile, node: YamlNode) -> Profile:
        value = _budget(node, limits, unit)
        if key == "softirq-budget-us" and value in range(1, MIN_SOFTIRQ_BUDGET_US):
            right = f"write 0 for none, {MIN_SOFTIRQ_BUDGET_US}..{limits[1]} {unit}, or leave"
            raise node.mark.error(f"{value} is out of range", right)
        return _module(profile, **{field: value})

    return setter


SECTIONS: Mapping[str, Mapping[str, Setter]] = {
    "agent": {
        "selectors": _selectors,
        "cpus": _agent_cpus,
        "pin": lambda profile, node: replace(profile, pin_agent=_boolean(node)),
    },
    "housekeeping": {"cpus": _housekeeping_cpus},
    "interrupts": {
        "placement": _placement,
        "default-affinity": lambda profile, node: replace(profile, default_affinity=_boolean(node)),
    },
    "steering": {
        "rps": lambda profile, node: replace(profile, steer_rps=_boolean(node)),
        "xps": lambda profile, node: replace(profile, steer_xps=_boolean(node)),
    },
    "softirq": {
        "netdev-budget": _netdev_budget,
        "netdev-budget-usecs": _netdev_budget_usecs,
        "dev-weight": _dev_weight,
    },
    "module": {
        "load": lambda profile, node: _module(profile, load=_boolean(node)),
        "required": lambda profile, node: _module(profile, required=_boolean(node)),
        "placement": _module_placement,
        **{key: _module_number(key) for key in MODULE_RANGES},
    },
}
