# SPDX-License-Identifier: GPL-2.0-only
"""Probes on kernels that hook functions, and against a disk of known speed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from measure_loads import read_disk
from probe_loads import Probed, null_disk, probing

from agenttune.host.selector import Selector
from agenttune.measure.probe_layout import ProbeName
from vm.lab.machine import AGENT_NIC
from vm.scene import interfaces
from vm.scene.scene import Cast, playing

pytestmark = pytest.mark.guest

# The agent asks a tool server in another network namespace; nothing else is on its network.
QUIET = Cast(seconds=60.0, flooded=False)
AGENTS = (Selector.parse("comm:agent"),)


def test_a_disk_of_known_delay_is_timed_right() -> None:
    with null_disk(5_000_000) as place, probing(ProbeName.BLOCK) as probed:
        read_disk(place, 60)
        with place.open("r+b", buffering=0) as target:
            for _ in range(30):
                target.write(bytes(4096))
                os.fsync(target.fileno())
        probed.stop()
    for metric, least in (("read-latency", 60), ("write-latency", 30)):
        found = probed.times(metric)["nullb0"]
        median = found.quantile(0.5)
        assert median
        assert found.count >= least
        assert median.high >= 5_000_000
        assert median.low <= 7_500_000


def test_this_kernel_times_the_fault_function() -> None:
    with probing(ProbeName.FAULT) as probed:
        probed.stop()
    assert probed.engine.times_function
    assert probed.coverage.missing == ()


def receiving_irq() -> int:
    vectors = interfaces.vectors(AGENT_NIC)
    return next(irq for irq, action in vectors.items() if action.endswith("input.0"))


def tied(probed: Probed, irq: int) -> int:
    """The agent's runs that this interrupt, or perhaps this one, led to."""
    name = f"agent by irq {irq}"
    times = probed.times("irq-to-run-exact").items()
    return sum(each.count for key, each in times if key == name or key.startswith(f"{name} (or "))


def sleeps(pid: int) -> int:
    """How often it has given up its CPU to wait, as the kernel counts."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


def test_an_answer_is_tied_to_the_interrupt_that_brought_it() -> None:
    with playing(QUIET) as scene, probing(ProbeName.IRQ_TO_RUN, AGENTS) as probed:
        slept = sleeps(scene.agent.pid)
        scene.block(2.0)
        slept = sleeps(scene.agent.pid) - slept
        probed.stop()
    # The transmit vector may be what raised NET_RX when an answer came while it was raised or ran.
    count = sum(tied(probed, irq) for irq in interfaces.vectors(AGENT_NIC))
    # Where others keep the CPU, many answers are there before their agent sleeps.
    assert slept > 50
    assert abs(count - slept) <= 0.02 * slept + 2
    assert tied(probed, receiving_irq()) >= count / 4


def test_a_chain_goes_through_a_napi_thread() -> None:
    with (
        playing(QUIET) as scene,
        interfaces.threaded(AGENT_NIC),
        probing(ProbeName.IRQ_TO_RUN, AGENTS) as probed,
    ):
        slept = sleeps(scene.agent.pid)
        scene.block(2.0)
        slept = sleeps(scene.agent.pid) - slept
        probed.stop()
    # Where others keep the CPU, many answers are there before their agent sleeps.
    assert slept > 50
    assert tied(probed, receiving_irq()) + probed.count("runs before") >= 0.8 * slept


def test_a_nics_polls_are_timed_in_its_softirq_only() -> None:
    nic = interfaces.interface(AGENT_NIC)
    with playing(QUIET) as scene, probing(ProbeName.SOFTIRQ) as probed:
        scene.block(1.0)
        probed.stop()
    polls = probed.times("napi-poll-time")
    assert polls[nic].count > 50
    in_softirqs = probed.times("softirq-time")["NET_RX"]
    assert sum(each.total for each in polls.values()) <= in_softirqs.total


def test_a_napi_threads_polls_are_only_counted() -> None:
    nic = interfaces.interface(AGENT_NIC)
    with (
        playing(QUIET) as scene,
        interfaces.threaded(AGENT_NIC),
        probing(ProbeName.SOFTIRQ) as probed,
    ):
        scene.block(1.0)
        probed.stop()
    assert probed.count("NAPI polls outside") > 50
    assert nic not in probed.times("napi-poll-time")
