# SPDX-License-Identifier: GPL-2.0-only
"""Each step gets its own completion, with the interrupt that brought it, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import client
import completions
import khugepaged
import pytest
from debug_kernel import paced
from loading import KernelModule
from wakers import wakers_of

from vm.lab.machine import AGENT_NIC, NVME_DISK, TOOL_NIC
from vm.scene import interfaces
from vm.scene.scene import networked

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

AGENT_CPU, STEPS, FEW, ROUNDS = 1, 200, 40, 12
COMPLETIONS = ("completion", "running")
# Long enough for a completion on an emulated machine.
SPIN_S = 0.02

Event = dict[str, str]


@pytest.fixture
def attached(module: KernelModule) -> Iterator[client.Client]:
    """This thread, attached, on the agent's CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {AGENT_CPU})
    try:
        with client.opened() as opened:
            opened.attach()
            yield opened
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def connected(module: KernelModule) -> Iterator[object]:
    """A peer over NIC A, whose vectors interrupt the agent's CPU; the peer's another."""
    with (
        networked(),
        interfaces.placed([AGENT_NIC], AGENT_CPU),
        interfaces.placed([TOOL_NIC], 2),
        completions.echo() as peer,
    ):
        yield peer


def told(events: list[Event]) -> list[Event]:
    return [event for event in events if event.get("stage") in COMPLETIONS]


def assert_all_by(irq: int, events: list[Event], guest: dict[str, str]) -> None:
    """By that interrupt and no other's. On PREEMPT_RT, one in eight may not be known (-1).

    There handlers run in threads, and what one of them was woken for is now and then not seen.
    """
    found = Counter(int(event["irq"]) for event in told(events))
    unknown = found.pop(-1, 0)
    assert set(found) == {irq}
    assert unknown <= (found[irq] / 8 if guest["kernel"].endswith("-rt") else 0)


def assert_one_each(events: list[Event], first: int, steps: int = STEPS) -> None:
    """One completion for each step; fails with what is told of those that have another number."""
    found = Counter(int(event["step_id"]) for event in told(events))
    wanted = Counter(range(first, first + steps))
    odd = (found - wanted) + (wanted - found)
    assert not odd, [event for event in events if int(event["step_id"]) in odd] or odd


def nvme_counts() -> dict[int, int]:
    return {irq: interfaces.counts(irq)[AGENT_CPU] for irq in interfaces.vectors(NVME_DISK)}


def input_irq(address: str) -> int:
    return next(irq for irq, name in interfaces.vectors(address).items() if "input" in name)


def test_each_read_is_its_steps(attached: client.Client, guest_facts: dict[str, str]) -> None:
    """/proc/interrupts tells which of the disk's vectors fired for the reads."""
    before = nvme_counts()
    with completions.disk() as disk, client.events("agent_irq_stage") as events:
        for number in range(STEPS):
            with client.step(1000 + number):
                disk.read(number)
    fired = {irq for irq, count in nvme_counts().items() if count > before[irq]}
    assert_one_each(events, 1000)
    assert len(fired) == 1
    assert_all_by(fired.pop(), events, guest_facts)
    assert {event["tid"] for event in events} == {str(os.getpid())}
    assert {event["cpu"] for event in told(events)} == {str(AGENT_CPU)}


def test_reads_that_nobody_slept_for_are_told(attached: client.Client) -> None:
    with completions.disk() as disk, client.events("agent_irq_stage") as events:
        for number in range(FEW):
            with client.step(2000 + number):
                disk.read_while_running(number, SPIN_S)
    assert_one_each(events, 2000, FEW)
    assert {event["stage"] for event in told(events)} == {"running"}


def test_steps_marked_by_stores(attached: client.Client) -> None:
    page = attached.page()
    with completions.disk() as disk, client.events("agent_irq_stage") as events:
        for number in range(STEPS):
            with client.stored_step(page, 0, 3000 + number):
                disk.read(number)
    page.close()
    assert_one_each(events, 3000)


def test_stored_steps_in_which_nothing_happens_are_counted(attached: client.Client) -> None:
    def own() -> dict[str, str]:
        tid = str(os.getpid())
        return next(line for line in client.debug_lines("agents") if line["tid"] == tid)

    page = attached.page()
    for number in range(1000):
        with client.stored_step(page, 0, 1 + number):
            pass
    time.sleep(0.01)
    page.close()
    agent = own()
    assert int(agent["unseen_steps"]) + int(agent["steps"]) == 1000
    assert int(agent["unseen_steps"]) > 500


def test_each_answer_is_its_steps(
    attached: client.Client, connected: object, guest_facts: dict[str, str]
) -> None:
    """By the receive queue's interrupt, never the transmit queue's or the peer's."""
    with client.events("agent_irq_stage") as events:
        for number in range(STEPS):
            with client.step(4000 + number):
                client.bind(4000 + number, connected)
                completions.round_trip(connected)  # type: ignore[arg-type]
    assert_one_each(events, 4000)
    assert_all_by(input_irq(AGENT_NIC), events, guest_facts)
    assert {event["softirq"] for event in told(events)} == {"3"}


def test_answers_that_nobody_slept_for_are_told(
    attached: client.Client, connected: object, guest_facts: dict[str, str]
) -> None:
    with client.events("agent_irq_stage") as events:
        for number in range(FEW):
            with client.step(5000 + number):
                client.bind(5000 + number, connected)
                completions.round_trip(connected, SPIN_S)  # type: ignore[arg-type]
    assert_one_each(events, 5000, FEW)
    assert_all_by(input_irq(AGENT_NIC), events, guest_facts)
    assert Counter(event["stage"] for event in told(events))["running"] > FEW * 3 / 4


def test_a_lock_that_a_kernel_thread_lets_go_is_no_completion(attached: client.Client) -> None:
    """khugepaged holds the map's lock, which the agent waits for. A timer woke it, nothing else."""
    with (
        khugepaged.hurried(),
        wakers_of(os.getpid()) as wakers,
        client.events("agent_irq_stage") as events,
    ):
        for number in range(ROUNDS):
            with client.step(6000 + number):
                khugepaged.contend(paced(0.5))
    assert wakers.count("khugepaged") >= 1
    assert not [event for event in events if event["task"].startswith("khugepaged-")]


def test_others_completions_are_nobodys(attached: client.Client) -> None:
    """Another process reads on the agent's CPU while a step of the agent runs on."""
    here = str(Path(__file__).parent)
    reader = f"import sys; sys.path.insert(0, {here!r}); import completions\n"
    reader += "with completions.disk() as disk:\n for n in range(100): disk.read(n)"
    command = ["taskset", "-c", str(AGENT_CPU), sys.executable, "-c", reader]
    before = nvme_counts()
    with (
        client.events("agent_irq_stage") as events,
        subprocess.Popen(command, env=os.environ | {"PYTHONPATH": "."}) as other,
        client.step(6000),
    ):
        while other.poll() is None:
            completions.spin(0.005)
    assert other.returncode == 0
    after = nvme_counts()
    fired = {irq for irq in before if after[irq] >= before[irq] + 90}
    assert fired, "the reads did not interrupt the agent's CPU"
    assert not [event for event in told(events) if int(event["irq"]) in fired]
    stolen = [event for event in events if event["stage"] == "stolen_hardirq"]
    assert {int(event["irq"]) for event in stolen} & fired


def test_a_late_step_is_called_late(attached: client.Client) -> None:
    with client.events("agent_step_begin", "agent_step_end") as events:
        deadline_ns = time.monotonic_ns() + 1_000_000
        with client.step(7000, deadline_ns=deadline_ns, budget_us=2000):
            time.sleep(0.01)
        with client.step(7001, deadline_ns=time.monotonic_ns() + 60_000_000_000, budget_us=1 << 31):
            time.sleep(0.001)
    begun = [event for event in events if event["event"] == "agent_step_begin"]
    late, early = (event for event in events if event["event"] == "agent_step_end")
    assert [int(event["step_id"]) for event in begun] == [7000, 7001]
    assert int(begun[0]["deadline_ns"]) == deadline_ns
    assert int(late["duration_ns"]) >= 10_000_000
    assert int(late["late_ns"]) >= 8_000_000
    assert int(late["over_us"]) >= 8_000
    assert (early["late_ns"], early["over_us"]) == ("0", "0")


def test_every_nanosecond_of_a_step_is_in_one_bucket(attached: client.Client) -> None:
    """Most of a sleep is external, unless the host took the CPU away in the middle of it."""
    with completions.disk() as disk:
        for number in range(FEW):
            with client.step(8000 + number):
                disk.read(number)
                completions.spin(0.001)
                time.sleep(0.01)
    steps = {int(line["step"]): line for line in client.debug_lines("steps")}
    external_ns = 0
    for number in range(FEW):
        step = steps[8000 + number]
        parts = [int(ns) for name, ns in step.items() if name.endswith("_ns")]
        extra = sum(int(step[name]) for name in ("begin_ns", "deadline_ns", "chain_ns"))
        assert sum(parts) - extra == int(step["ns"])
        assert int(step["ns"]) > 11_000_000
        external_ns += int(step["external_ns"])
    assert external_ns >= FEW * 5_000_000


def test_nothing_is_told_of_a_thread_that_was_detached(attached: client.Client) -> None:
    attached.detach()
    with completions.disk() as disk, client.events("agent_irq_stage") as events, client.step(9000):
        disk.read(0)
    assert not events
    attached.attach()
