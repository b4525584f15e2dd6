# SPDX-License-Identifier: GPL-2.0-only
"""Remedy: what a plan would do about the culprit of a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Vector
from agenttune.measure.culprit import Cause, Culprit
from agenttune.measure.trace import Step, Trace
from agenttune.policy.module import NAPI_BUDGET, SOFTIRQ_BUDGET_NS
from agenttune.policy.plan import Change, KnobKind, Plan

_INTERRUPTS = frozenset({Cause.HARDIRQ, Cause.SOFTIRQ, Cause.KSOFTIRQD, Cause.IRQ_THREAD})
_TASKS = frozenset({Cause.RUN_QUEUE, Cause.PREEMPTED, Cause.MIGRATION})


@dataclass(frozen=True, slots=True)
class Remedy:
    """The first planned change that addresses the culprit, or None; `text` says it or why none."""

    text: str
    change: Change | None = None
    plan: str | None = None


def find_remedy(culprit: Culprit, step: Step, trace: Trace, host: Host, plan: Plan) -> Remedy:
    """What `plan`, made for `host` in the boot that `trace` is from, does about `culprit`."""
    if culprit.cause in _INTERRUPTS:
        return _interrupt_remedy(culprit, trace, host, plan)
    if culprit.cause in _TASKS:
        for change in _of_kind(plan, KnobKind.TASK_AFFINITY):
            if _moves_thread(change, step, culprit):
                return _planned(change, plan)
        return _none(plan, "it does not move other tasks; give the agent a CPU of its own")
    return _none(plan, "it is not interrupt work")


def _interrupt_remedy(culprit: Culprit, trace: Trace, host: Host, plan: Plan) -> Remedy:
    vector = _vector(culprit, trace, host)
    changes = _vector_changes(culprit, vector, plan), _packet_changes(culprit, vector, plan)
    if change := next(chain(*changes), None):
        return _planned(change, plan)
    if vector is None:
        return _none(plan, "no device's vector is behind it, as far as known")
    for unmovable in plan.unmovable:
        if unmovable.key == vector.key:
            return _none(plan, f"vector {vector.irq} cannot be moved ({unmovable.why})")
    return _none(plan, f"it leaves vector {vector.irq} on CPU {_where(vector)}")


def _vector(culprit: Culprit, trace: Trace, host: Host) -> Vector | None:
    """The recorded IRQ number's vector, unless the number has another action by now."""
    recorded = {name.irq: name.action for name in trace.vectors}
    for vector in host.vectors:
        if vector.irq == culprit.irq:
            return vector if recorded.get(vector.irq) in (None, vector.key.action) else None
    return None


def _vector_changes(culprit: Culprit, vector: Vector | None, plan: Plan) -> Iterator[Change]:
    if vector is None:
        return
    kinds = [KnobKind.VECTOR_AFFINITY, KnobKind.IRQ_THREAD_AFFINITY]
    if culprit.cause is Cause.IRQ_THREAD:
        kinds.reverse()
    for kind in kinds:
        yield from (each for each in _of_kind(plan, kind) if each.knob.target == str(vector.key))


def _packet_changes(culprit: Culprit, vector: Vector | None, plan: Plan) -> Iterator[Change]:
    """Steering of the same interface's packets, then the limits on packet softirqs: those of the
    module on the agent's CPUs, then the whole host's."""
    if culprit.softirq != "NET_RX":
        return
    if vector is not None and vector.interface:
        for change in _of_kind(plan, KnobKind.RPS_CPUS):
            if change.knob.target.split("/")[0] == vector.interface:
                yield change
    for change in _of_kind(plan, KnobKind.MODULE_SETTING):
        if change.knob.target in (NAPI_BUDGET, SOFTIRQ_BUDGET_NS):
            yield change
    for change in _of_kind(plan, KnobKind.SYSCTL):
        if change.knob.target.startswith("net.core.netdev_budget"):
            yield change


def _moves_thread(change: Change, step: Step, culprit: Culprit) -> bool:
    """It pins the step's thread away from where it had to wait; or just pins what was moved."""
    if change.knob.target.split("@")[0] != str(step.tid):
        return False
    if culprit.cause is Cause.MIGRATION:
        return True
    return culprit.cpu is not None and culprit.cpu not in CpuMask.parse_list(change.wanted)


def _of_kind(plan: Plan, kind: KnobKind) -> Iterator[Change]:
    return (change for change in plan.changes if change.knob.kind is kind)


def _planned(change: Change, plan: Plan) -> Remedy:
    return Remedy(f"planned change: {_deed(change)}", change, plan.profile)


def _none(plan: Plan, why: str) -> Remedy:
    return Remedy(f"no change of plan {plan.profile} addresses this: {why}", None, plan.profile)


def _deed(change: Change) -> str:
    what, wanted = change.label or change.knob.target, change.wanted
    match change.knob.kind:
        case KnobKind.VECTOR_AFFINITY:
            return f"move {what} to CPU {wanted}"
        case KnobKind.IRQ_THREAD_AFFINITY:
            return f"move the thread of {what} to CPU {wanted}"
        case KnobKind.RPS_CPUS:
            return f"have CPUs {wanted or 'none'} receive for {change.knob.target}"
        case KnobKind.TASK_AFFINITY:
            return f"pin {what} to CPUs {wanted}"
    return f"set {change.knob.target or change.knob.kind} to {wanted}"


def _where(vector: Vector) -> str:
    return str(vector.effective or vector.affinity or "unknown")
