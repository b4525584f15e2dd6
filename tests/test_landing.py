# SPDX-License-Identifier: GPL-2.0-only
"""Landing: the verdict follows where interrupts were counted, not what the mask says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policy_hosts import host, topology, vector

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import VectorKey
from agenttune.measure.measurement import Coverage, Measurement, NapiLoad, SoftirqLoad, VectorLoad
from agenttune.policy.landing import Verdict, landing
from agenttune.policy.plan import Change, Knob, KnobKind, Plan
from agenttune.report.landing import landing_text

KEY = VectorKey("0000:00:05.0", 1, "virtio3-input.0")
PLAN = Plan(
    profile="p",
    boot_id=None,
    agent_cpus=CpuMask.of([3]),
    avoided_cpus=CpuMask.of([3]),
    housekeeping_cpus=CpuMask.of([0, 1, 2]),
    changes=(Change(Knob(KnobKind.VECTOR_AFFINITY, str(KEY)), "3", "1", "", "agent core"),),
)

HOST = host(
    topology(),
    [
        vector(45, "3", "3", key=KEY, interface="eth2", queue=0),
        vector(46, "2", "2", key=replace(KEY, entry=2), interface="eth2", queue=1),
    ],
)


def window(counts: dict[int, int], net_rx_ns: int = 0, window_ns: int = 10**9) -> Measurement:
    return Measurement(
        window_ns=window_ns,
        boot_id=None,
        kernel="test",
        engine="test",
        selectors=(),
        online="0-3",
        vectors=tuple(VectorLoad(45, KEY, cpu, n, n * 1000) for cpu, n in counts.items()),
        softirqs=(SoftirqLoad("NET_RX", 3, 1, net_rx_ns),),
        napi=(),
        agents=(),
        squeezes=(),
        distributions=(),
        coverage=Coverage(0, 0, 0),
    )


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ({3: 500}, {1: 400}, Verdict.LEFT),
        ({3: 500}, {3: 1, 1: 400}, Verdict.LEFT),
        ({3: 500}, {3: 2, 1: 400}, Verdict.STAYED),
        ({3: 500}, {3: 1}, Verdict.QUIET),
        ({3: 500}, {}, Verdict.QUIET),
    ],
)
def test_vector_verdict(before: dict[int, int], after: dict[int, int], verdict: Verdict) -> None:
    proof = landing(PLAN, HOST, window(before), window(after))
    assert proof.vectors[0].verdict is verdict
    assert proof.landed is (verdict is not Verdict.STAYED)


def test_softirq_shares_compare_windows_of_different_length() -> None:
    before = window({3: 9}, net_rx_ns=400_000_000)
    proof = landing(PLAN, HOST, before, window({1: 9}, net_rx_ns=400_000_000, window_ns=10**10))
    (cpu,) = proof.cpus
    assert (cpu.softirq_before_pct, cpu.softirq_after_pct) == (40.0, 4.0)
    assert cpu.verdict is Verdict.LEFT


def test_softirq_that_stays_is_a_mismatch_though_the_vector_left() -> None:
    proof = landing(PLAN, HOST, window({3: 9}, 400_000_000), window({1: 9}, 400_000_001))
    assert proof.vectors[0].verdict is Verdict.LEFT
    assert not proof.landed
    assert "did NOT leave" in landing_text(proof)


def test_softirq_is_not_judged_where_no_moved_vector_fired() -> None:
    proof = landing(PLAN, HOST, window({1: 9}, 300_000_000), window({1: 9}, 400_000_000))
    assert proof.cpus[0].verdict is Verdict.QUIET
    assert proof.landed


@pytest.mark.parametrize(
    ("polled", "counts", "verdict"),
    [
        (NapiLoad("eth2", 3, 900, 40_000, 900), {}, Verdict.STAYED),
        (NapiLoad("eth2", 3, 900, 40_000, 900), {1: 5}, Verdict.LEFT),
        (NapiLoad("eth2", 1, 900, 40_000, 900), {}, Verdict.QUIET),
        (NapiLoad("eth0", 3, 900, 40_000, 900), {}, Verdict.QUIET),
    ],
)
def test_a_napi_that_never_rests_keeps_its_vector(
    polled: NapiLoad, counts: dict[int, int], verdict: Verdict
) -> None:
    before, after = window({3: 9}, 500_000_000), window(counts, 400_000_000)
    proof = landing(PLAN, HOST, before, replace(after, napi=(polled,)))
    assert proof.vectors[0].verdict is verdict
    assert proof.landed is (verdict is not Verdict.STAYED)
    assert ("lets up" in landing_text(proof)) is (verdict is Verdict.STAYED)


def test_polls_of_another_queues_interrupt_are_not_the_vectors() -> None:
    """eth2's second queue could not leave CPU 3, and it still interrupts there."""
    other = VectorLoad(46, replace(KEY, entry=2), 3, 50, 50_000)
    after = window({}, 400_000_000)
    polled = NapiLoad("eth2", 3, 900, 40_000, 900)
    after = replace(after, vectors=(other,), napi=(polled,))
    proof = landing(PLAN, HOST, window({3: 9}, 500_000_000), after)
    assert proof.vectors[0].verdict is Verdict.QUIET
