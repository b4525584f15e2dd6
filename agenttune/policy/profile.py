# SPDX-License-Identifier: GPL-2.0-only
"""Profile: what an operator wants for an agent, read strictly from YAML."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.host.cpumask import CpuMask
from agenttune.host.selector import Selector


class Placement(StrEnum):
    """Where device vectors go, relative to the agent's CPUs."""

    AWAY = "away"
    NEAR = "near"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class SoftirqBudget:
    """Host-wide softirq sysctls; None leaves one alone."""

    netdev_budget: int | None = None
    netdev_budget_usecs: int | None = None
    dev_weight: int | None = None


@dataclass(frozen=True, slots=True)
class ModuleWish:
    """What the kernel module should do; None leaves one of its settings alone.

    `required`: a host that cannot load it refuses the plan. `placement` None leaves it, 'off' too
    is a value. `softirq_budget_us` bounds net_rx_action on an agent CPU, `napi_budget` its packets;
    0 switches either off.
    """

    load: bool = False
    required: bool = False
    placement: str | None = None
    placement_window_ms: int | None = None
    placement_quiet_pct: int | None = None
    napi_budget: int | None = None
    softirq_budget_us: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile after includes are merged.

    `agent_cpus` None is 'auto'; `agent_cpuset` names a cgroup whose effective CPUs are the agent's;
    `housekeeping_cpus` None means every online CPU that is neither an agent core, nor an SMT
    sibling of one, nor isolated.
    `placement` None leaves interrupts where they are.
    """

    name: str
    description: str
    selectors: tuple[Selector, ...] = ()
    agent_cpus: CpuMask | None = None
    agent_cpuset: str | None = None
    housekeeping_cpus: CpuMask | None = None
    placement: Placement | None = None
    pin_agent: bool = False
    steer_rps: bool = False
    steer_xps: bool = False
    default_affinity: bool = False
    softirq: SoftirqBudget = SoftirqBudget()
    module: ModuleWish = ModuleWish()
