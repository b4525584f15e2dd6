# SPDX-License-Identifier: GPL-2.0-only
"""An evaluation as the reports get it, without running one."""

from __future__ import annotations

import random
from dataclasses import replace

from agenttune.evaluate.comparison import BASELINE, BlockFigures, compare, figures
from agenttune.evaluate.disturbances import Disturbances
from agenttune.evaluate.quantiles import quantiles
from agenttune.evaluate.result import (
    Agreement,
    ArmResult,
    Attribution,
    Block,
    Environment,
    Evaluation,
    Settings,
)
from agenttune.evaluate.workload import Workload
from agenttune.measure.histogram import Histogram
from agenttune.measure.trace import Bucket
from agenttune.policy.plan import Change, Knob, KnobKind

# Text that a task, a driver or a command line may hold, and a page must not obey.
HOSTILE = "<script>console.error('x')</script>&\"'\x1b[31m"
SPEEDS = {BASELINE: 1.0, "tuned": 0.4, "affinity": 0.45, "pinning": 1.0, "near": 1.3, "mine": 0.9}


def make_evaluation(rounds: int = 8, steps: int = 1200, hostile: str = "") -> Evaluation:
    draw = random.Random(1)
    blocks = [
        make_block(draw, number, arm, speed, steps)
        for number in range(1, rounds + 1)
        for arm, speed in SPEEDS.items()
    ]
    whole = [
        {b.arm: BlockFigures(b.steps, b.quantiles_ns) for b in blocks if b.round == number}
        for number in range(1, rounds + 1)
    ]
    arms = [
        ArmResult(
            name,
            f"what {name} is {hostile}",
            changes=() if name == BASELINE else (make_change(hostile),),
            notes=(f"a note {hostile}",),
            figures=figures(name, whole, 1),
            comparisons=() if name == BASELINE else compare(name, whole, 1),
        )
        for name in SPEEDS
    ]
    arms.append(ArmResult("guardrail", "", f"the module is not there {hostile}"))
    return Evaluation(
        command=f"agenttune evaluate x {hostile}",
        settings=Settings("agent-latency", rounds, 5.0, 1.0, 1, 2.0, Workload(), (), ("pid:1",)),
        environment=Environment(
            *("6.12.1", f"a CPU {hostile}", "0-3", True, None),
            *(("irqbalance (active)",), "0.1.0", "3.11.2"),
        ),
        agent_cpus="1",
        level=0.95,
        rounds=rounds,
        arms=tuple(arms),
        blocks=tuple(blocks),
        not_observable=(f"a probe {hostile}",),
    )


def make_block(draw: random.Random, number: int, arm: str, speed: float, steps: int) -> Block:
    drift = draw.gauss(0, 0.05)
    durations = [round(speed * 1e6 * draw.lognormvariate(drift, 0.4)) for _ in range(steps)]
    cpu = 1 if arm in (BASELINE, "pinning") else 2
    return Block(
        round=number,
        arm=arm,
        begin_ns=number * 10**10,
        end_ns=number * 10**10 + 5 * 10**9,
        steps=steps,
        quantiles_ns=quantiles(durations),
        durations=Histogram.of(durations),
        disturbances=Disturbances(1.5, 60.0, (2000, 3400), 0, 3, ()),
        interrupts={
            "24 virtio0-input.0": {cpu: 9000, 0: 10},
            "LOC Local timer interrupts": dict.fromkeys(range(4), 1250),
        },
        attribution=make_attribution(draw, durations),
    )


def make_attribution(draw: random.Random, durations: list[int]) -> Attribution:
    slow = sorted(durations)[-12:]
    shares = {Bucket.RUN: 0.2, Bucket.STOLEN_SOFTIRQ: 0.3, Bucket.RUN_QUEUE: 0.5}
    return Attribution(
        wakeups=Histogram.of(round(draw.lognormvariate(10, 1)) for _ in range(200)),
        softirqs=Histogram.of(round(draw.lognormvariate(9, 1)) for _ in range(300)),
        small_io=Histogram.of(round(draw.lognormvariate(12, 1)) for _ in range(50)),
        slow_steps=len(slow),
        slow_ns=sum(slow),
        slow_buckets_ns=tuple(round(shares.get(b, 0) * sum(slow)) for b in Bucket),
        migrations=2,
        missed_switches=0,
        lost=0,
        agreement=Agreement(len(durations), len(durations), len(durations), 0, Histogram()),
    )


def make_change(hostile: str) -> Change:
    knob = Knob(KnobKind.VECTOR_AFFINITY, "0000:00:03.0/1/virtio0-input.0")
    return Change(
        knob, "1", "2", f"irq 24 {hostile}", f"CPU 1 is an agent core {hostile}", ("41 %",)
    )


def without_attribution(done: Evaluation) -> Evaluation:
    return replace(done, blocks=tuple(replace(b, attribution=None) for b in done.blocks))
