# SPDX-License-Identifier: GPL-2.0-only
"""Plan: an ordered list of changes, each with its reason and evidence, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Movability, VectorKey


class KnobKind(StrEnum):
    """The kinds of kernel setting that agenttune changes; one file each in change/knobs/.

    The canonical value of a mask knob is the list form ('0-3'), that of a sysctl its decimal text,
    that of the module LOADED or NOT_LOADED.
    """

    VECTOR_AFFINITY = "vector-affinity"
    DEFAULT_AFFINITY = "default-affinity"
    IRQ_THREAD_AFFINITY = "irq-thread-affinity"
    RPS_CPUS = "rps-cpus"
    XPS_CPUS = "xps-cpus"
    SYSCTL = "sysctl"
    TASK_AFFINITY = "task-affinity"
    IRQBALANCE_BANS = "irqbalance-bans"
    MODULE = "module"
    MODULE_SETTING = "module-setting"
    COMMAND = "command"


LOADED = "loaded"
NOT_LOADED = "not loaded"


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of one stable target.

    `target` by kind: vector-affinity and irq-thread-affinity 'DEVICE/ENTRY/ACTION' (VectorKey);
    rps-cpus 'eth0/rx-0'; xps-cpus 'eth0/tx-0'; sysctl 'net.core.netdev_budget'; task-affinity
    'PID@START_TICKS'; default-affinity ''; irqbalance-bans ''; module 'agent_latency';
    module-setting its sysctl below kernel/agent_latency, 'agent_cpus'; command a pair of shell
    commands as JSON (change/knobs/command.py), which only 'evaluate' plans.
    """

    kind: KnobKind
    target: str

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".rstrip()


@dataclass(frozen=True, slots=True)
class Change:
    """Set `knob` from `before` to `wanted`; `label` names the target for people.

    `before` is what the inventory saw: apply reads it again and refuses when it differs.
    `optional`: when the host refuses it, apply says so and goes on without it.
    """

    knob: Knob
    before: str
    wanted: str
    label: str
    reason: str
    evidence: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Unmet:
    """Something the profile asks for that this host cannot do; `remedy` is a full sentence."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Unmovable:
    """A vector on an agent CPU that user space cannot move, and what would help."""

    key: VectorKey
    irq: int
    why: Movability
    cpus: CpuMask
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile asks of this host. Changes are applied in order and reverted in reverse."""

    profile: str
    boot_id: str | None
    agent_cpus: CpuMask
    avoided_cpus: CpuMask
    housekeeping_cpus: CpuMask
    changes: tuple[Change, ...]
    unmovable: tuple[Unmovable, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    notes: tuple[str, ...] = ()
