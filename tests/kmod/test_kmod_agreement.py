# SPDX-License-Identifier: GPL-2.0-only
"""The module and the BPF programs watch the same steps in one window, and say the same of them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import client
import completions
import pytest
from debug_kernel import patience, slow
from loading import KernelModule

from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import Bucket, Step, Trace
from vm.lab.machine import AGENT_NIC, TOOL_NIC
from vm.scene import interfaces
from vm.scene.scene import networked

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

AGENT_CPU, ROUNDS, WARM_UP = 1, 20, 3
FIRST = 50_000
# Each runs in what the other measures, once for each event; an emulated event takes some 100 us.
SLACK_NS, SLACK_PCT = 10_000_000 if slow() else 1_000_000, 5
# Whoever asks sleeps by then, and what sending raised is done with.
THINKING_S = patience(0.005)
# In the order of enum at_bucket, as debugfs names them.
BUCKETS = (
    *("run", "syscall", "fault", "stolen_hardirq", "stolen_softirq", "wake_ipi", "run_queue"),
    *("preempted", "throttled", "external", "chain_hardirq", "chain_pending", "chain_softirq"),
    *("chain_thread", "event_loop", "unseen"),
)


@dataclass(frozen=True)
class Pair:
    """One step: as `agenttune steps` records it, and as the module's debugfs tells it."""

    bpf: Step
    module: dict[str, str]


def works(disk: completions.Disk, peer: socket.socket) -> tuple[Callable[[int], None], ...]:
    def ask(number: int) -> None:
        client.bind(number, peer)
        completions.round_trip(peer)

    return (disk.read, ask, lambda _: time.sleep(0.01), lambda _: completions.spin(0.01))


@pytest.fixture(scope="module")
def pairs(module: KernelModule) -> Iterator[list[Pair]]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {AGENT_CPU})
    with (
        networked(),
        interfaces.placed([AGENT_NIC], AGENT_CPU),
        interfaces.placed([TOOL_NIC], 2),
        completions.echo(THINKING_S) as peer,
        completions.disk() as disk,
        client.opened() as opened,
        StepsSession(engine="libbpf", keep_all=True) as session,
    ):
        opened.attach()
        for number in range(FIRST, FIRST + ROUNDS):
            for kind, work in enumerate(works(disk, peer)):
                with client.step(number * 10 + kind):
                    work(number * 10 + kind)
            session.take()
        session.stop()
        yield paired(session.read())
    os.sched_setaffinity(0, before)


def paired(trace: Trace) -> list[Pair]:
    """Emulated CPUs translate a program when it runs first; those rounds are left out."""
    lines = {int(line["step"]): line for line in client.debug_lines("steps")}
    own = {step.id: step for step in trace.steps if step.tgid == os.getpid()}
    numbers = [
        number * 10 + kind for number in range(FIRST + WARM_UP, FIRST + ROUNDS) for kind in range(4)
    ]
    return [Pair(own[number], lines[number]) for number in numbers]


def test_durations_agree(pairs: list[Pair]) -> None:
    """But for one in twenty, in which the host took the CPU between two clocks."""
    apart_ns = sorted(abs(pair.bpf.duration_ns - int(pair.module["ns"])) for pair in pairs)
    assert apart_ns[len(apart_ns) * 19 // 20] <= SLACK_NS, apart_ns


def test_buckets_agree(pairs: list[Pair]) -> None:
    """Step by step but for one in twenty, in which the host took the CPU between two clocks."""
    differing = [
        (pair.bpf.id, bucket, ns, pair.module[f"{name}_ns"])
        for pair in pairs
        for bucket, name, ns in zip(Bucket, BUCKETS, pair.bpf.buckets_ns, strict=True)
        if abs(ns - int(pair.module[f"{name}_ns"]))
        > SLACK_NS + SLACK_PCT * pair.bpf.duration_ns / 100
    ]
    assert len({step for step, *_ in differing}) <= len(pairs) / 20, differing


def test_both_name_the_same_interrupt(pairs: list[Pair]) -> None:
    """Of a wait that an interrupt ended. BPF says when several had raised the softirq.

    BPF names what raised NET_RX, the module whose NAPI it polled: another queue's interrupt may
    have raised it, and the answer's came while it ran. That is seldom, and of the same NIC.
    """
    agents_nic = set(interfaces.vectors(AGENT_NIC))
    same: list[bool] = []
    shared = 0
    for pair in pairs:
        chains = [wait.chain for wait in pair.bpf.waits if wait.blocked and wait.chain]
        named = [chain for chain in chains if chain.irq is not None and not chain.shared]
        shared += any(chain.shared for chain in chains)
        if len(chains) != 1 or not named or pair.module["completions"] != "1":
            continue
        if pair.module["running"] == "0":
            same.append(named[0].irq == int(pair.module["irq"]))
            assert same[-1] or {named[0].irq, int(pair.module["irq"])} <= agents_nic
    print(f"the same interrupt: {sum(same)} of {len(same)}; said to be of several: {shared}")
    assert len(same) >= len(pairs) / 8
    assert sum(same) >= len(same) * 9 / 10


def test_both_count_the_same_waits(pairs: list[Pair]) -> None:
    for pair in pairs:
        assert pair.bpf.nr_waits == int(pair.module["waits"])
