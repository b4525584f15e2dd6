# SPDX-License-Identifier: GPL-2.0-only
"""culprit(): the right cause for constructed steps, and sums that always hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import traces
from hypothesis import given
from hypothesis import strategies as st
from traces import BEGIN_NS, MS, chain, holder, step, task_chain, trace, wait

from agenttune.measure.culprit import Cause, Culprit, contributors, culprit
from agenttune.measure.legs import wait_legs
from agenttune.measure.trace import (
    Bucket,
    CompletionKind,
    ObjectKind,
    Ready,
    Step,
    Thief,
    Wait,
)

NET_RX_45 = Thief(45, None, "NET_RX")


def of(*waits: Wait, duration_ns: int = 12 * MS, **fields: object) -> Culprit:
    return culprit(step(duration_ns, waits, **fields), trace())  # type: ignore[arg-type]


def queued(**fields: object) -> Wait:
    """Blocked for 100 us, then runnable for 9 ms."""
    return wait(1 * MS, 10_100_000, waking_ns=1_100_000, **fields)


def blocked(**fields: object) -> Wait:
    """Blocked for 9 ms."""
    return wait(1 * MS, 10 * MS, waking_ns=10 * MS, **fields)


def preempted(**fields: object) -> Wait:
    return wait(1 * MS, 10 * MS, **fields)


HELD = holder("hog", 9 * MS)
KSOFTIRQD = holder(
    "ksoftirqd/3", 9 * MS, softirq_ns=8_900_000, softirq_thief=NET_RX_45, tid=31
)  # fmt: skip
STORM = holder("bystander", 9 * MS, softirq_ns=7 * MS, hardirq_ns=1 * MS, softirq_thief=NET_RX_45)
HARD_STORM = holder("x", 9 * MS, hardirq_ns=6 * MS, hardirq_thief=Thief(45, None, None))
IDLE = holder(seen_ns=9 * MS, idle_ns=9 * MS)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (queued(holder=HELD), (Cause.RUN_QUEUE, "hog", None, None)),
        (preempted(holder=HELD), (Cause.PREEMPTED, "hog", None, None)),
        (preempted(throttled=True, holder=HELD), (Cause.THROTTLED, None, None, None)),
        (queued(throttled=True), (Cause.THROTTLED, None, None, None)),
        (queued(holder=KSOFTIRQD), (Cause.KSOFTIRQD, "ksoftirqd/3", 45, "NET_RX")),
        (preempted(holder=KSOFTIRQD), (Cause.KSOFTIRQD, "ksoftirqd/3", 45, "NET_RX")),
        (queued(holder=STORM), (Cause.SOFTIRQ, None, 45, "NET_RX")),
        (preempted(holder=HARD_STORM), (Cause.HARDIRQ, None, 45, None)),
        (queued(holder=holder("irq/45-virtio1", 9 * MS)),
            (Cause.IRQ_THREAD, "irq/45-virtio1", 45, None)),
        (queued(holder=holder("napi/eth0-1", 9 * MS)),
            (Cause.IRQ_THREAD, "napi/eth0-1", None, None)),
        (queued(holder=HELD, in_cpu=1), (Cause.MIGRATION, "hog", None, None)),
        (queued(holder=IDLE), (Cause.IPI, None, None, None)),
        (preempted(holder=IDLE), (Cause.THROTTLED, None, None, None)),
        (wait(MS, 10 * MS, waking_ns=MS, wakeup_ns=BEGIN_NS + 10 * MS),
            (Cause.IPI, None, None, None)),
        (replace(blocked(), waking_seen=False, waking_ns=None), (Cause.UNKNOWN, None, None, None)),
    ],
)  # fmt: skip
def test_who_kept_it_from_running(made: Wait, expected: tuple[object, ...]) -> None:
    found = of(made)
    assert (found.cause, found.comm, found.irq, found.softirq) == expected
    assert 8 * MS < found.ns <= 9 * MS
    assert found.wait == made


NIC = chain(completion=CompletionKind.SOCKET, subject=99)
DISK = chain(softirq=None, completion=CompletionKind.BLOCK, subject=259 << 32)
LOC = chain(irq=None, arch="LOC", softirq=None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"chain": NIC, "object_kind": ObjectKind.SOCKET}, (Cause.PEER, None)),
        ({"chain": replace(NIC, irq=None, origin=900), "syscall": 232}, (Cause.PEER, "waker")),
        ({"object_kind": ObjectKind.SOCKET}, (Cause.PEER, "waker")),
        ({"chain": chain(), "syscall": 281}, (Cause.PEER, None)),
        ({"chain": DISK, "in_io": True}, (Cause.DISK, None)),
        ({"chain": DISK, "syscall": 426}, (Cause.DISK, None)),
        ({"in_io": True, "syscall": 0}, (Cause.DISK, None)),
        ({"in_fault": True, "chain": DISK}, (Cause.FAULT, None)),
        ({"in_fault": True, "waker_comm": "uffd"}, (Cause.FAULT, "uffd")),
        ({"syscall": 61}, (Cause.CHILD, "waker")),
        ({"object_kind": ObjectKind.CHILD}, (Cause.CHILD, "waker")),
        ({"syscall": 202}, (Cause.FUTEX, "waker")),
        ({"object_kind": ObjectKind.PIPE, "syscall": 0}, (Cause.PIPE, "waker")),
        ({"syscall": 230, "chain": LOC}, (Cause.TIMER, None)),
        ({"syscall": 202, "chain": LOC}, (Cause.TIMER, None)),
        ({"syscall": 232, "chain": chain(softirq="TIMER", arch="LOC")}, (Cause.TIMER, None)),
        ({"syscall": 426}, (Cause.URING, "waker")),
        ({"chain": chain(completion=CompletionKind.URING)}, (Cause.URING, None)),
        ({}, (Cause.TASK, "waker")),
        ({"syscall": 232}, (Cause.TASK, "waker")),
        ({"chain": None, "waker_comm": ""}, (Cause.UNKNOWN, None)),
        ({"chain": chain(softirq=None)}, (Cause.UNKNOWN, None)),
        ({"chain": chain(irq=None, softirq=None, hidden_irq=True)}, (Cause.UNKNOWN, None)),
    ],
)  # fmt: skip
def test_what_it_waited_for(fields: dict[str, object], expected: tuple[object, ...]) -> None:
    found = of(blocked(**fields))
    assert (found.cause, found.comm) == expected
    assert (found.ns, found.bucket) == (9 * MS, Bucket.EXTERNAL)


def test_a_packet_that_wakes_a_poller_is_no_timeout() -> None:
    """The local timer's interrupt may run NET_RX (a NAPI watchdog), which then wakes."""
    assert of(blocked(chain=replace(NIC, irq=None, arch="LOC"), syscall=232)).cause is Cause.PEER


def test_a_wait_through_a_kernel_thread_is_no_timeout() -> None:
    delayed = replace(LOC, conduit=500, thread_ns=BEGIN_NS + 9 * MS)
    assert of(blocked(chain=delayed, in_io=True)).cause is Cause.DISK


def test_who_woke_it_in_task_context_is_the_waker() -> None:
    found = of(blocked(syscall=202, chain=replace(task_chain(), origin=75)))
    assert (found.comm, found.tid) == ("waker", 900)


def test_a_kernel_thread_only_carries_what_another_task_began() -> None:
    carried = replace(task_chain(), origin=500, conduit=900, thread_ns=BEGIN_NS + 9 * MS)
    found = of(blocked(object_kind=ObjectKind.PIPE, chain=carried, waker_comm="kworker/3:1"))
    assert (found.cause, found.comm, found.tid) == (Cause.PIPE, "hog", 500)


def test_system_calls_have_other_numbers_on_other_machines() -> None:
    made = step(12 * MS, [blocked(syscall=98)])
    assert culprit(made, trace(machine="aarch64")).cause is Cause.FUTEX
    assert culprit(made, trace(machine="x86_64")).cause is Cause.TASK
    assert culprit(made, trace(machine="riscv64")).cause is Cause.TASK


def test_legs_of_a_chain_are_charged_apart() -> None:
    """Each of 5 legs has another length, so that none can be taken for another."""
    at = BEGIN_NS + MS
    made = wait(
        0, 31 * MS, waking_ns=31 * MS,
        chain=chain(
            irq_ns=at, raise_ns=at + 2 * MS, entry_ns=at + 6 * MS, thread_ns=at + 14 * MS,
            conduit=600, ksoftirqd=True,
        ),
    )  # fmt: skip
    found = contributors(step(31 * MS, [made]), trace(vectors=(), names=((600, "irq/45-virtio1"),)))
    assert [(each.cause, each.ns // MS) for each in found] == [
        (Cause.IRQ_THREAD, 16),
        (Cause.KSOFTIRQD, 12),
        (Cause.HARDIRQ, 2),
        (Cause.PEER, 1),
    ]
    assert found[0].comm == "irq/45-virtio1"


def test_stolen_time_is_charged_to_the_thief() -> None:
    stolen = {Bucket.STOLEN_SOFTIRQ: 9 * MS, Bucket.STOLEN_HARDIRQ: 2 * MS}
    made = step(12 * MS, [], stolen, stolen_softirq=NET_RX_45, stolen_hardirq=Thief(7, None, None))
    found = contributors(made, trace())
    assert [(each.cause, each.irq, each.ns) for each in found] == [
        (Cause.SOFTIRQ, 45, 9 * MS),
        (Cause.HARDIRQ, 7, 2 * MS),
        (Cause.COMPUTE, None, 1 * MS),
    ]


def test_one_softirq_is_one_contributor_wherever_it_hit() -> None:
    made = step(
        20 * MS, [queued(holder=STORM)], {Bucket.STOLEN_SOFTIRQ: 4 * MS}, stolen_softirq=NET_RX_45
    )
    found = culprit(made, trace())
    assert (found.cause, found.ns, found.bucket) == (Cause.SOFTIRQ, 13 * MS, Bucket.RUN_QUEUE)


def test_many_preemptions_by_one_task_are_one_contributor() -> None:
    turns = [
        wait(each * MS, each * MS + 900_000, holder=holder("hog", 900_000)) for each in range(8)
    ]
    sleep = wait(9 * MS, 12 * MS, waking_ns=12 * MS, syscall=230)
    found = culprit(step(13 * MS, [*turns, sleep]), trace())
    assert (found.cause, found.comm, found.tid, found.waits) == (Cause.PREEMPTED, "hog", 500, 8)
    assert found.ns == 8 * 900_000


def test_many_tasks_of_one_name_are_one_contributor_without_a_tid() -> None:
    turns = [
        wait(
            each * MS,
            each * MS + 900_000,
            holder=holder("cc1", 900_000, tid=600 + each),
            queue_cpu=each,
            in_cpu=each,
        )
        for each in range(4)
    ]
    found = culprit(step(5 * MS, turns), trace())
    assert (found.comm, found.tid, found.cpu) == ("cc1", None, None)


def test_a_holder_is_not_named_when_an_unseen_one_may_have_held_more() -> None:
    found = of(queued(holder=holder("hog", 4 * MS, seen_ns=4 * MS)))
    assert (found.cause, found.comm, found.ns) == (Cause.RUN_QUEUE, None, 9 * MS)
    found = of(queued(holder=holder("hog", 5 * MS, seen_ns=5 * MS)))
    assert found.comm == "hog"


def test_little_interrupt_time_takes_no_blame() -> None:
    noisy = holder("hog", 9 * MS, softirq_ns=3 * MS, hardirq_ns=1 * MS, softirq_thief=NET_RX_45)
    assert of(queued(holder=noisy)).comm == "hog"


def test_waits_not_kept_leave_time_without_a_name() -> None:
    made = step(12 * MS, [queued(holder=HELD)], {Bucket.RUN_QUEUE: MS, Bucket.EXTERNAL: MS // 2})
    found = [(each.cause, each.comm, each.ns) for each in contributors(made, trace())]
    assert (Cause.RUN_QUEUE, "hog", 9 * MS) in found
    assert (Cause.RUN_QUEUE, None, MS) in found
    assert (Cause.UNKNOWN, None, MS // 2) in found


def test_what_has_no_name_is_told_apart_by_place() -> None:
    made = step(12 * MS, [queued(holder=IDLE)], {Bucket.WAKE_IPI: MS})
    found = [(each.cause, each.bucket, each.ns) for each in contributors(made, trace())]
    assert (Cause.IPI, Bucket.RUN_QUEUE, 9 * MS) in found
    assert (Cause.IPI, Bucket.WAKE_IPI, MS) in found


def test_waits_like_a_kept_one_are_charged_with_it() -> None:
    kept = replace(blocked(chain=DISK, in_io=True), like_ns=2 * MS, like_waits=22)
    made = step(16 * MS, [kept], {Bucket.EXTERNAL: 3 * MS})
    found = contributors(made, trace())
    assert (found[0].cause, found[0].ns, found[0].waits) == (Cause.DISK, 11 * MS, 23)
    assert (Cause.UNKNOWN, MS) in [(each.cause, each.ns) for each in found]


def test_likeness_cannot_exceed_the_bucket() -> None:
    kept = replace(blocked(), like_ns=50 * MS, like_waits=2)
    found = contributors(step(12 * MS, [kept], {Bucket.EXTERNAL: MS}), trace())
    assert (found[0].cause, found[0].ns) == (Cause.TASK, 10 * MS)


def test_a_long_parse_is_its_own_culprit() -> None:
    assert of(wait(MS, 2 * MS, holder=HELD)).cause is Cause.COMPUTE


def test_an_interleaved_step_is_split_by_its_own_socket() -> None:
    ready = Ready(99, BEGIN_NS + 8 * MS, 1, replace(NIC, irq_ns=BEGIN_NS + 7 * MS))
    buckets = dict.fromkeys(Bucket, 0) | {
        Bucket.EXTERNAL: 7 * MS,
        Bucket.CHAIN_HARDIRQ: 1 * MS,
        Bucket.EVENT_LOOP: 4 * MS,
    }
    made = step(
        12 * MS,
        interleaved=True,
        ready=ready,
        buckets_ns=tuple(buckets.values()),
    )
    made = replace(made, waits=(queued(holder=HELD),))
    found = contributors(made, trace())
    assert [(each.cause, each.ns) for each in found] == [
        (Cause.PEER, 7 * MS),
        (Cause.EVENT_LOOP, 4 * MS),
        (Cause.HARDIRQ, 1 * MS),
    ]
    assert found[0].subject == 99


def test_a_step_without_time_has_no_culprit() -> None:
    assert culprit(step(0), trace()) == Culprit(Cause.UNKNOWN, 0, Bucket.UNSEEN)


def test_a_residual_is_unknown() -> None:
    made = replace(step(10 * MS), end_ns=BEGIN_NS + 30 * MS)
    assert culprit(made, trace()).cause is Cause.UNKNOWN
    assert culprit(made, trace()).ns == 20 * MS


@given(traces.steps())
def test_contributors_sum_to_the_step(made: Step) -> None:
    found = contributors(made, trace())
    assert sum(each.ns for each in found) == made.duration_ns
    assert all(each.ns > 0 for each in found)
    assert [each.ns for each in found] == sorted((each.ns for each in found), reverse=True)


@given(traces.steps(), st.lists(st.integers(-1000, 10**7), min_size=16, max_size=16))
def test_contributors_sum_whatever_the_buckets_say(made: Step, buckets: list[int]) -> None:
    """Buckets that contradict the waits: nothing is counted twice, nothing below zero."""
    wrong = replace(made, buckets_ns=tuple(buckets))
    held = sum(ns for ns in buckets if ns > 0)
    found = contributors(wrong, trace())
    assert all(each.ns > 0 for each in found)
    assert sum(each.ns for each in found) == held + max(0, wrong.residual_ns)


@given(traces.steps())
def test_legs_are_what_the_core_charges(made: Step) -> None:
    for each in made.waits:
        legs = wait_legs(each)
        charged = traces.charged([each])
        for bucket in Bucket:
            assert sum(leg.ns for leg in legs if leg.bucket is bucket) == charged[bucket]
        edges = [(leg.begin_ns, leg.end_ns) for leg in legs]
        assert edges[0][0] == each.out_ns
        assert edges[-1][1] == each.in_ns
        assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(edges))


def test_like_waits_count_to_the_kept_one() -> None:
    """Forty short reads, of which eight are kept, are one disk's doing."""
    read = chain(completion=CompletionKind.BLOCK, subject=7, irq_ns=None, softirq=None)
    kept = wait(0, 1 * MS, waking_ns=1 * MS, chain=read, like_ns=8 * MS, like_waits=40)
    found = step(12 * MS, [kept])
    external = tuple(Bucket).index(Bucket.EXTERNAL)
    buckets = list(found.buckets_ns)
    buckets[external] += 8 * MS
    buckets[tuple(Bucket).index(Bucket.RUN)] -= 8 * MS
    named = culprit(replace(found, buckets_ns=tuple(buckets)), trace())
    assert (named.cause, named.subject, named.ns) == (Cause.DISK, 7, 9 * MS)
