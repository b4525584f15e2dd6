# SPDX-License-Identifier: GPL-2.0-only
"""Which functions serve which kind of knob."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agenttune.change.knobs import (
    command,
    default_affinity,
    irq_thread,
    irqbalance,
    module,
    steering,
    sysctl,
    task,
    vector,
)
from agenttune.change.knobs.knob import KnobOps
from agenttune.policy.plan import KnobKind

OPS: Mapping[KnobKind, KnobOps] = MappingProxyType(
    {
        KnobKind.VECTOR_AFFINITY: vector.OPS,
        KnobKind.DEFAULT_AFFINITY: default_affinity.OPS,
        KnobKind.IRQ_THREAD_AFFINITY: irq_thread.OPS,
        KnobKind.RPS_CPUS: steering.RPS,
        KnobKind.XPS_CPUS: steering.XPS,
        KnobKind.SYSCTL: sysctl.OPS,
        KnobKind.TASK_AFFINITY: task.OPS,
        KnobKind.IRQBALANCE_BANS: irqbalance.OPS,
        KnobKind.MODULE: module.OPS,
        KnobKind.MODULE_SETTING: module.SETTING,
        KnobKind.COMMAND: command.OPS,
    }
)
