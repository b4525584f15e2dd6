# SPDX-License-Identifier: GPL-2.0-only
"""Landing: whether two measurements show that a plan's interrupt work left the agent's CPUs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host
from agenttune.measure.measurement import Measurement, SoftirqLoad, VectorLoad
from agenttune.policy.plan import KnobKind, Plan
from agenttune.policy.restless import restless

# The softirqs that device interrupts raise (include/linux/interrupt.h, v6.12); the others follow
# timers, RCU and the scheduler, which no vector's affinity moves.
DEVICE_SOFTIRQS = frozenset({"NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "HI"})

# Without interrupt remapping a move completes at the vector's next interrupt, which still arrives
# on the old CPU (kernel/irq/migration.c, irq_move_masked_irq, v6.12).
PENDING_MOVE_INTERRUPTS = 1

# Below this share of a CPU the softirq work is too small for two windows to be compared.
SOFTIRQ_NOISE_PCT = 0.1


class Verdict(StrEnum):
    """What the second window shows of a vector or of a CPU's softirq work."""

    LEFT = "left"
    STAYED = "stayed"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class VectorLanding:
    """One moved vector: its interrupts on the avoided CPUs and elsewhere, in each window.

    `quiet`: it did not fire in the second window, so nothing is proved. `stayed` without an
    interrupt in the second window: its NAPI was polled on an avoided CPU all the time.
    """

    vector: str
    before_avoided: int
    before_elsewhere: int
    after_avoided: int
    after_elsewhere: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CpuLanding:
    """One avoided CPU: the share of each window that device interrupt work took there.

    `verdict` is of its softirq work; quiet where no moved vector fired or the share is noise.
    """

    cpu: int
    hardirq_before_pct: float
    hardirq_after_pct: float
    softirq_before_pct: float
    softirq_after_pct: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Landing:
    """The proof of a plan, vector by vector, then CPU by CPU; `landed` only if nothing stayed."""

    landed: bool
    before_ns: int
    after_ns: int
    vectors: tuple[VectorLanding, ...]
    cpus: tuple[CpuLanding, ...]


def landing(plan: Plan, host: Host, before: Measurement, after: Measurement) -> Landing:
    """Compare two windows around the plan's application; the windows may differ in length.

    `host` as it was when the plan was made.
    """
    moved = [
        change.knob.target
        for change in plan.changes
        if change.knob.kind is KnobKind.VECTOR_AFFINITY
    ]
    polled = {str(key) for key in restless(plan.avoided_cpus, host, after)}
    vectors = tuple(
        _vector_landing(each, plan.avoided_cpus, before, after, each in polled) for each in moved
    )
    left = {load.cpu for load in before.vectors if load.count and str(load.key) in moved}
    cpus = tuple(_cpu_landing(cpu, cpu in left, before, after) for cpu in plan.avoided_cpus)
    verdicts = [each.verdict for each in vectors] + [each.verdict for each in cpus]
    landed = Verdict.STAYED not in verdicts
    return Landing(landed, before.window_ns, after.window_ns, vectors, cpus)


def _vector_landing(
    target: str, avoided: CpuMask, before: Measurement, after: Measurement, polled: bool
) -> VectorLanding:
    before_avoided, before_elsewhere = _split(target, avoided, before.vectors)
    after_avoided, after_elsewhere = _split(target, avoided, after.vectors)
    if polled or after_avoided > PENDING_MOVE_INTERRUPTS:
        verdict = Verdict.STAYED
    else:
        verdict = Verdict.LEFT if after_elsewhere else Verdict.QUIET
    return VectorLanding(
        target, before_avoided, before_elsewhere, after_avoided, after_elsewhere, verdict
    )


def _split(target: str, avoided: CpuMask, loads: Iterable[VectorLoad]) -> tuple[int, int]:
    on_avoided = elsewhere = 0
    for load in loads:
        if str(load.key) == target:
            if load.cpu in avoided:
                on_avoided += load.count
            else:
                elsewhere += load.count
    return on_avoided, elsewhere


def _cpu_landing(cpu: int, judge: bool, before: Measurement, after: Measurement) -> CpuLanding:
    """`judge`: a moved vector fired on this CPU, so its softirq work has to fall."""
    soft_before = _softirq_pct(cpu, before)
    soft_after = _softirq_pct(cpu, after)
    if not judge or max(soft_before, soft_after) < SOFTIRQ_NOISE_PCT:
        verdict = Verdict.QUIET
    else:
        verdict = Verdict.LEFT if soft_after < soft_before else Verdict.STAYED
    return CpuLanding(
        cpu,
        _hardirq_pct(cpu, before),
        _hardirq_pct(cpu, after),
        soft_before,
        soft_after,
        verdict,
    )


def _hardirq_pct(cpu: int, seen: Measurement) -> float:
    return _share_pct((load for load in seen.vectors if load.cpu == cpu), seen.window_ns)


def _softirq_pct(cpu: int, seen: Measurement) -> float:
    device = (load for load in seen.softirqs if load.cpu == cpu and load.vector in DEVICE_SOFTIRQS)
    return _share_pct(device, seen.window_ns)


def _share_pct(loads: Iterable[VectorLoad | SoftirqLoad], window_ns: int) -> float:
    return 100 * sum(load.time_ns for load in loads) / window_ns if window_ns else 0.0
