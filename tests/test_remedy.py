# SPDX-License-Identifier: GPL-2.0-only
"""Remedies: the planned change that addresses a culprit, or why none does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policy_hosts import host, mask, topology, vector
from traces import MS, step, trace

from agenttune.host.host import Host, Movability, VectorKey
from agenttune.measure.culprit import Cause, Culprit
from agenttune.measure.trace import Bucket, Trace
from agenttune.policy.plan import Change, Knob, KnobKind, Plan, Unmovable
from agenttune.policy.remedy import Remedy, find_remedy


def planned(*changes: Change, **fields: object) -> Plan:
    base = Plan("p", "boot", mask("3"), mask("3"), mask("0-2"), changes)
    return replace(base, **fields)  # type: ignore[arg-type]


KEY = VectorKey("0000:00:03.0", 1, "virtio1-input.0")
HERE: Host = host(topology(), [vector(45, "3", "3", key=KEY, interface="eth0")])
MOVE = Change(Knob(KnobKind.VECTOR_AFFINITY, str(KEY)), "3", "1", "irq 45 virtio1-input.0", "why")
STEER = Change(Knob(KnobKind.RPS_CPUS, "eth0/rx-0"), "", "1", "", "why")
BUDGET = Change(Knob(KnobKind.SYSCTL, "net.core.netdev_budget_usecs"), "8000", "2000", "", "why")
BOUND = Change(Knob(KnobKind.MODULE_SETTING, "agent_napi_budget"), "0", "16", "", "why")
OTHER = Change(Knob(KnobKind.VECTOR_AFFINITY, "0000:00:04.0/1/x"), "3", "1", "", "why")
PIN = Change(Knob(KnobKind.TASK_AFFINITY, "77@1"), "0-3", "1", "agent (pid 77)", "why")

NET_RX = Culprit(Cause.KSOFTIRQD, MS, Bucket.RUN_QUEUE, irq=45, softirq="NET_RX", cpu=3)
HOG = Culprit(Cause.RUN_QUEUE, MS, Bucket.RUN_QUEUE, "hog", 500, cpu=3)


def remedy_of(found: Culprit, plan: Plan, seen: Trace | None = None) -> Remedy:
    return find_remedy(found, step(12 * MS), seen or trace(), HERE, plan)


@pytest.mark.parametrize(
    ("found", "changes", "chosen", "words"),
    [
        (NET_RX, (OTHER, BUDGET, STEER, MOVE), MOVE,
            "planned change: move irq 45 virtio1-input.0 to CPU 1"),
        (NET_RX, (OTHER, BUDGET, STEER), STEER,
            "planned change: have CPUs 1 receive for eth0/rx-0"),
        (NET_RX, (OTHER, BUDGET), BUDGET,
            "planned change: set net.core.netdev_budget_usecs to 2000"),
        (NET_RX, (OTHER, BUDGET, BOUND), BOUND,
            "planned change: set agent_napi_budget to 16"),
        (NET_RX, (OTHER, replace(BOUND, knob=Knob(KnobKind.MODULE_SETTING, "agent_cpus"))), None,
            "no change of plan p addresses this: it leaves vector 45 on CPU 3"),
        (NET_RX, (OTHER,), None,
            "no change of plan p addresses this: it leaves vector 45 on CPU 3"),
        (replace(NET_RX, softirq="BLOCK"), (BUDGET, STEER), None,
            "no change of plan p addresses this: it leaves vector 45 on CPU 3"),
        (replace(NET_RX, irq=None, softirq="TIMER"), (MOVE,), None,
            "no change of plan p addresses this: no device's vector is behind it, as far as known"),
        (HOG, (MOVE, PIN), PIN, "planned change: pin agent (pid 77) to CPUs 1"),
        (HOG, (MOVE, replace(PIN, wanted="3")), None,
            "no change of plan p addresses this: it does not move other tasks; "
            "give the agent a CPU of its own"),
        (HOG, (replace(PIN, knob=Knob(KnobKind.TASK_AFFINITY, "770@1")),), None,
            "no change of plan p addresses this: it does not move other tasks; "
            "give the agent a CPU of its own"),
        (replace(HOG, cause=Cause.PEER, irq=45), (MOVE,), None,
            "no change of plan p addresses this: it is not interrupt work"),
    ],
)  # fmt: skip
def test_the_change_that_fits(
    found: Culprit, changes: tuple[Change, ...], chosen: Change | None, words: str
) -> None:
    remedy = remedy_of(found, planned(*changes))
    assert (remedy.change, remedy.text) == (chosen, words)
    assert remedy.plan == "p"


def test_a_vector_that_cannot_move_is_told_as_such() -> None:
    stuck = Unmovable(KEY, 45, Movability.MANAGED, mask("3"), "boot with ...")
    remedy = remedy_of(NET_RX, planned(unmovable=(stuck,)))
    assert remedy.text.endswith("vector 45 cannot be moved (managed)")


def test_an_irq_number_that_was_given_to_another_device_is_not_matched() -> None:
    seen = trace(vectors=(replace(trace().vectors[0], action="nvme0q1"),))
    assert remedy_of(NET_RX, planned(MOVE), seen).change is None
