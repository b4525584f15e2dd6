# SPDX-License-Identifier: GPL-2.0-only
"""Raw samples as values, and which of them are kept."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from agenttune.measure import attribution
from agenttune.measure import steps_layout as raw
from agenttune.measure.keeper import Keeper
from agenttune.measure.trace import CompletionKind, ObjectKind, StepKind, Thief

IRQ, LOC = 40, raw.ARCH_ID
NET_RX = 3


def step_sample(step_id: int = 7, begin_ns: int = 100, end_ns: int = 300, **fields: int) -> bytes:
    sample = raw.StepSample(type=raw.STEP_SAMPLE, size=0)
    record = sample.step
    record.id, record.begin_ns, record.end_ns = step_id, begin_ns, end_ns
    record.tid, record.tgid, record.name, record.comm = 11, 10, b"look up", b"agent"
    for name, value in fields.items():
        setattr(record, name, value)
    return bytes(sample)


def wait_sample(out_ns: int = 120, step_id: int = 7, begin_ns: int = 100) -> bytes:
    sample = raw.WaitSample(type=raw.WAIT_SAMPLE, step_id=step_id, begin_ns=begin_ns, tid=11)
    sample.wait.out_ns, sample.wait.in_ns = out_ns, out_ns + 50
    return bytes(sample)


def woken() -> raw.BpfWait:
    """By the network softirq that IRQ raised."""
    wait = raw.BpfWait(out_ns=100, waking_ns=170, wakeup_ns=180, in_ns=200)
    wait.flags = raw.WAIT_BLOCKED
    wait.chain.vector = NET_RX + 1
    wait.chain.cause.flags = raw.CAUSE_IRQ | raw.CAUSE_SHARED
    wait.chain.cause.irq, wait.chain.cause.irq_ns, wait.chain.cause.irq_cpu = IRQ, 150, 1
    wait.chain.cause.raise_ns, wait.chain.cause.entry_ns = 155, 160
    wait.syscall = -1
    return wait


def test_a_step_says_what_its_mark_said() -> None:
    found = attribution.step(step_sample(kind=1, deadline_ns=900, budget_us=5), ())
    assert (found.id, found.tid, found.tgid) == (7, 11, 10)
    assert (found.name, found.comm, found.kind) == ("look up", "agent", StepKind.TOOL)
    assert (found.deadline_ns, found.budget_us, found.duration_ns) == (900, 5, 200)
    bare = attribution.step(step_sample(), ())
    assert (bare.deadline_ns, bare.budget_us, bare.ready) == (None, None, None)


def test_waits_are_in_the_order_of_their_begin() -> None:
    found = attribution.step(step_sample(), [wait_sample(220), wait_sample(120)])
    assert [wait.out_ns for wait in found.waits] == [120, 220]


@pytest.mark.parametrize(
    ("flags", "ambiguous"),
    [
        (0, False),
        (raw.STEP_OVERLAPPED, False),
        (raw.STEP_INTERLEAVED, True),
        (raw.STEP_INTERLEAVED | raw.STEP_BOUND, True),
        (raw.STEP_INTERLEAVED | raw.STEP_BOUND | raw.STEP_READY, False),
    ],
)
def test_only_a_socket_that_was_ready_tells_shared_steps_apart(flags: int, ambiguous: bool) -> None:
    found = attribution.step(step_sample(flags=flags), ())
    assert found.ambiguous == ambiguous
    assert (found.ready is not None) == bool(flags & raw.STEP_READY)


def test_a_chain_names_its_interrupt() -> None:
    found = attribution.wait(woken())
    assert found.waking_seen and found.chain
    assert (found.chain.irq, found.chain.arch, found.chain.irq_cpu) == (IRQ, None, 1)
    assert (found.chain.irq_ns, found.chain.raise_ns, found.chain.entry_ns) == (150, 155, 160)
    assert found.chain.softirq == "NET_RX" and found.chain.shared
    assert (found.chain.origin, found.chain.conduit, found.chain.thread_ns) == (None, None, None)
    assert found.chain.completion is CompletionKind.NONE and found.chain.done_ns is None
    assert found.syscall is None and found.object_kind is ObjectKind.NONE


def test_an_interrupt_without_a_number_has_a_name() -> None:
    wait = woken()
    wait.chain.cause.irq = LOC
    found = attribution.wait(wait).chain
    assert found and (found.irq, found.arch) == (None, "LOC")


def test_a_task_and_its_kernel_thread_are_named() -> None:
    wait = woken()
    wait.chain.vector, wait.waker = 0, 55
    wait.chain.cause.flags = raw.CAUSE_TASK | raw.CAUSE_THREAD
    wait.chain.cause.origin, wait.chain.cause.conduit = 44, 55
    wait.chain.done.kind, wait.chain.done.done_ns, wait.chain.done.subject = 1, 165, 99
    found = attribution.wait(wait)
    assert found.waker == 55 and found.chain
    assert (found.chain.origin, found.chain.conduit, found.chain.irq) == (44, 55, None)
    assert found.chain.completion is CompletionKind.SOCKET
    assert (found.chain.done_ns, found.chain.subject) == (165, 99)


def test_a_wait_without_a_waking_has_no_chain() -> None:
    wait = woken()
    wait.flags, wait.waking_ns, wait.wakeup_ns = raw.WAIT_BLOCKED | raw.WAIT_NO_WAKING, 0, 0
    found = attribution.wait(wait)
    assert not found.waking_seen
    assert (found.chain, found.waking_ns, found.wakeup_ns, found.waker_cpu) == (None,) * 4


def test_a_preempted_thread_has_a_holder_and_no_chain() -> None:
    wait = woken()
    wait.flags, wait.waking_ns, wait.wakeup_ns = 0, 0, 0
    wait.holder.tid, wait.holder.comm = 66, b"hog"
    wait.holder.softirq.weight_ns, wait.holder.softirq.irq = 5, raw.NO_IRQ
    wait.holder.softirq.vector = NET_RX + 1
    wait.softirq_ns = 5
    found = attribution.wait(wait)
    assert (found.blocked, found.chain) == (False, None)
    assert (found.holder.tid, found.holder.comm) == (66, "hog")
    assert found.holder.softirq_thief == Thief(None, None, "NET_RX")
    assert found.holder.hardirq_thief is None
    assert (found.holder.softirq_ns, found.holder.hardirq_ns) == (5, 0)


def test_interrupt_time_of_a_thread_that_moved_is_unknown() -> None:
    wait = woken()
    wait.queue_cpu, wait.in_cpu = 0, 1
    found = attribution.wait(wait).holder
    assert (found.softirq_ns, found.hardirq_ns) == (None, None)


def test_names_are_those_of_threads_that_still_live(tmp_path: Path) -> None:
    wait = raw.WaitSample()
    wait.wait = woken()
    wait.wait.chain.cause.flags = raw.CAUSE_TASK | raw.CAUSE_THREAD
    wait.wait.chain.cause.origin, wait.wait.chain.cause.conduit = 44, 55
    (tmp_path / "55").mkdir()
    (tmp_path / "55/comm").write_text("kworker/0:1\n")
    step = attribution.step(step_sample(), [bytes(wait)])
    assert attribution.names([step], tmp_path) == ((55, "kworker/0:1"),)


def test_a_keeper_holds_the_slowest_of_each_kind() -> None:
    keeper = Keeper(slowest=2)
    for number, duration in enumerate((50, 10, 40, 30, 60), start=1):
        keeper.add([step_sample(number, 100, 100 + duration), wait_sample(step_id=number)])
    keeper.add([step_sample(9, 100, 101, kind=1)])
    kept = sorted(struct.unpack_from("=Q", group[0], 8)[0] for group in keeper.groups())
    assert kept == [1, 5, 9]
    assert [len(group) for group in keeper.groups()] == [2, 2, 1]
    assert keeper.floors() == {StepKind.OTHER: 50}


def test_waits_go_to_their_own_step() -> None:
    keeper = Keeper(None)
    keeper.add([step_sample(7, 100), step_sample(7, 900, 999), wait_sample(920, 7, 900)])
    assert [len(group) for group in keeper.groups()] == [1, 2]
    assert keeper.floors() == {}
