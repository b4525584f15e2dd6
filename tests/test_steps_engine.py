# SPDX-License-Identifier: GPL-2.0-only
"""Steps whose marks, waits and wakers are known, as the kernel saw them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import step_actor as actor
from engines import ENGINES
from step_actor import BUDGET_US, DEADLINE_NS, DELAY_S, SLEEP_S, SPIN_S

from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import (
    Bucket,
    CompletionKind,
    ObjectKind,
    Step,
    StepKind,
    Trace,
    Wait,
)

pytestmark = pytest.mark.bpf

ACTOR = Path(__file__).parent / "step_actor.py"
MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Played:
    """One run of the actor: what was recorded, and what it says itself."""

    trace: Trace
    times: dict[int, list[int]]
    told: dict[str, int]

    def step(self, number: int) -> Step:
        own = (self.told["pid"], self.told["forked"])
        found = [each for each in self.trace.steps if each.id == number and each.tgid in own]
        assert len(found) == 1, f"{len(found)} records of step {number}"
        return found[0]

    def is_flooded(self) -> bool:
        own = (self.told["pid"], self.told["forked"])
        foreign = any(each.tgid not in own for each in self.trace.steps)
        return foreign and self.trace.coverage.lost_records > 0

    def longest(self, number: int) -> Wait:
        return max(self.step(number).waits, key=lambda wait: wait.in_ns - wait.out_ns)


def play(engine: str) -> Played:
    with StepsSession(engine=engine, keep_all=True) as session:
        cpu = max(os.sched_getaffinity(0))
        process = subprocess.Popen(
            [sys.executable, str(ACTOR), str(cpu)], stdout=subprocess.PIPE, text=True
        )
        while process.poll() is None:
            time.sleep(0.05)
            session.take()
        session.stop()
        trace = session.read()
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    process.stdout.close()
    assert process.returncode == 0
    return Played(trace, {int(key): value for key, value in said["times"].items()}, said["told"])


@pytest.fixture(scope="module", params=ENGINES)
def played(request: pytest.FixtureRequest) -> Played:
    """The actor is watched once for each engine; again while others flood the ring with marks."""
    if request.param == "bcc":
        request.getfixturevalue("bcc_here")
    for _ in range(3):
        found = play(request.param)
        if not found.is_flooded():
            break
    return found


def blocked_ns(one: Step) -> int:
    """Blocked until woken: outside, then in the chain that woke it."""
    chain = (Bucket.CHAIN_HARDIRQ, Bucket.CHAIN_PENDING, Bucket.CHAIN_SOFTIRQ, Bucket.CHAIN_THREAD)
    return one.ns(Bucket.EXTERNAL) + sum(one.ns(bucket) for bucket in chain)


def test_a_step_lies_between_the_clock_readings_around_its_marks(played: Played) -> None:
    incomplete = (*actor.CROWD, actor.STRAY, actor.UNFINISHED)
    for number in played.times.keys() - set(incomplete):
        found = played.step(number)
        before_begin, after_begin, before_end, after_end = played.times[number]
        assert before_begin <= found.begin_ns <= after_begin, found.name
        assert before_end <= found.end_ns <= after_end, found.name


def test_the_buckets_sum_to_the_step(played: Played) -> None:
    for found in played.trace.steps:
        assert abs(found.residual_ns) <= max(2_000, found.duration_ns // 1000), found
        assert all(ns >= 0 for ns in found.buckets_ns)


def test_a_mark_carries_name_kind_deadline_and_budget(played: Played) -> None:
    sleep, spin = played.step(actor.SLEEP), played.step(actor.SPIN)
    assert (sleep.name, sleep.kind) == ("sleep", StepKind.TOOL)
    assert (sleep.deadline_ns, sleep.budget_us) == (DEADLINE_NS, BUDGET_US)
    assert (spin.name, spin.kind) == (actor.LONG_NAME[:23], StepKind.MODEL)
    assert (spin.deadline_ns, spin.budget_us) == (None, None)
    assert (sleep.tgid, sleep.tid) == (played.told["pid"], played.told["pid"])


def test_a_sleep_waits_for_a_timer(played: Played) -> None:
    sleep, wait = played.step(actor.SLEEP), played.longest(actor.SLEEP)
    # An emulated CPU may stand still between the setting of the timer and the switch,
    assert wait.out_ns - sleep.begin_ns + blocked_ns(sleep) >= SLEEP_S * 1e9
    # and between the timer's interrupt and the waking.
    assert sleep.ns(Bucket.EXTERNAL) >= SLEEP_S * 1e9 * 0.5
    assert wait.blocked and wait.waking_seen
    assert wait.object_kind is ObjectKind.TIMER
    assert wait.chain and wait.chain.origin is None
    assert wait.out_ns < wait.waking_ns <= wait.wakeup_ns <= wait.in_ns  # type: ignore[operator]


def test_a_spin_runs_or_is_kept_from_running(played: Played) -> None:
    spin = played.step(actor.SPIN)
    on_cpu = (Bucket.RUN, Bucket.STOLEN_HARDIRQ, Bucket.STOLEN_SOFTIRQ, Bucket.PREEMPTED)
    assert sum(spin.ns(bucket) for bucket in on_cpu) >= 0.95 * SPIN_S * 1e9
    assert spin.ns(Bucket.RUN) > 0


def test_a_pipe_waits_for_its_partner(played: Played) -> None:
    pipe = played.step(actor.PIPE)
    assert pipe.nr_waits >= actor.ROUNDS // 2
    blocked = [wait for wait in pipe.waits if wait.blocked]
    assert blocked
    for wait in blocked:
        if wait.object_kind is ObjectKind.PIPE:
            assert wait.waker == played.told["pipe partner"]
            assert wait.chain and wait.chain.origin == played.told["pipe partner"]
    assert sum(wait.object_kind is ObjectKind.PIPE for wait in blocked) >= len(blocked) - 1


def test_every_switch_of_a_thread_is_a_wait(played: Played) -> None:
    """Some kernels make a few switches without their tracepoint; those are counted too."""
    found, silent = played.step(actor.PIPE), played.trace.coverage.missed_switches
    assert played.told["least switches"] - silent <= found.nr_waits
    assert found.nr_waits <= played.told["most switches"]


def test_who_holds_the_cpu_is_named(played: Played) -> None:
    """On a busy machine others hold it too."""
    found = played.step(actor.COMPETE)
    held = [wait for wait in found.waits if wait.holder.tid == played.told["hog"]]
    assert held
    assert found.ns(Bucket.PREEMPTED) >= 20 * MS
    for wait in held:
        assert not wait.blocked
        assert 0 < wait.holder.held_ns <= wait.holder.seen_ns <= wait.in_ns - wait.out_ns


def test_runnable_time_is_what_the_scheduler_says(played: Played) -> None:
    """Its own sum lies between those read inside the marks and around them, but for its clock:
    a run queue's clock is read once per tick or switch (update_rq_clock(), v6.12)."""
    found = played.step(actor.COMPETE)
    runnable_ns = sum(
        found.ns(each)
        for each in (Bucket.RUN_QUEUE, Bucket.PREEMPTED, Bucket.THROTTLED, Bucket.WAKE_IPI)
    )
    error_ns = max(MS // 2, runnable_ns // 50)
    # A switch that the kernel makes without its tracepoint leaves its wait unseen.
    seen_ns = runnable_ns + found.ns(Bucket.UNSEEN)
    assert seen_ns >= played.told["least run delay"] - error_ns
    assert runnable_ns <= played.told["most run delay"] + error_ns


def test_a_reply_comes_through_the_network_softirq(played: Played) -> None:
    wait = played.longest(actor.TCP)
    assert blocked_ns(played.step(actor.TCP)) >= 0.9 * DELAY_S * 1e9
    assert wait.object_kind is ObjectKind.SOCKET
    assert wait.chain and wait.chain.softirq == "NET_RX"
    assert wait.chain.origin == played.told["peer"] or wait.chain.ksoftirqd
    if not lacks(played.trace, "sk_data_ready"):
        assert wait.chain.completion is CompletionKind.SOCKET
        assert wait.chain.subject == played.told["cookie"]
        assert wait.chain.done_ns and wait.chain.done_ns <= (wait.waking_ns or 0)


def test_waiting_for_a_child_names_it(played: Played) -> None:
    wait = played.longest(actor.CHILD)
    assert wait.object_kind is ObjectKind.CHILD
    assert wait.waker == played.told["child"]


def test_steps_in_steps_are_told_from_steps_that_share_the_thread(played: Played) -> None:
    outer, inner = played.step(actor.OUTER), played.step(actor.INNER)
    assert outer.begin_ns < inner.begin_ns < inner.end_ns < outer.end_ns
    for found in (outer, inner):
        assert found.overlapped and not found.interleaved and not found.ambiguous
    for found in (played.step(actor.FIRST), played.step(actor.SECOND)):
        assert found.overlapped and found.interleaved and found.ambiguous
    assert not played.step(actor.SLEEP).overlapped


def test_a_bound_socket_splits_a_shared_thread(played: Played) -> None:
    bound, other = played.step(actor.BOUND), played.step(actor.OTHER)
    assert other.ambiguous and other.ready is None
    if lacks(played.trace, "sk_data_ready"):
        assert bound.ready is None
        return
    assert bound.ready and bound.ready.cookie == played.told["cookie"]
    assert not bound.ambiguous
    # The reply came after DELAY_S, the thread slept for two.
    assert bound.ns(Bucket.EVENT_LOOP) >= 0.3 * DELAY_S * 1e9
    assert blocked_ns(bound) >= 0.9 * DELAY_S * 1e9
    assert bound.ready.ready_ns == bound.end_ns - bound.ns(Bucket.EVENT_LOOP)


def test_each_thread_has_its_own_steps(played: Played) -> None:
    found = [played.step(number) for number in actor.THREADS]
    assert len({each.tid for each in found}) == len(found)
    assert all(each.tgid == played.told["pid"] for each in found)
    # One emulated CPU in a while stands still just before it sleeps; all together sleep enough.
    asleep_ns = sum(blocked_ns(each) + each.ns(Bucket.UNSEEN) for each in found)
    assert asleep_ns >= 0.8 * actor.NAP_NS * len(found)


def test_new_threads_wait_as_often_as_the_kernel_says(played: Played) -> None:
    silent = played.trace.coverage.missed_switches
    for number in actor.THREADS:
        found = played.step(number)
        counts = (found.nr_waits - found.preemptions, found.preemptions)
        for kind, count in zip(actor.SWITCH_KINDS, counts, strict=True):
            assert played.told[f"{number} least {kind}"] - silent <= count
            assert count <= played.told[f"{number} most {kind}"]


def test_a_forked_child_has_no_steps_but_its_own(played: Played) -> None:
    assert played.step(actor.FORK).tid == played.told["pid"]
    assert played.step(actor.CHILDS_OWN).tid == played.told["forked"]


def test_every_mark_is_accounted_for(played: Played) -> None:
    coverage = played.trace.coverage
    # Whatever else marks steps on this machine counts too.
    assert coverage.refused >= 1
    # The one that was refused, the child's end of its parent's step, and STRAY.
    assert coverage.stray_ends >= 3
    assert coverage.unfinished >= 1
    assert coverage.ended == coverage.kept == len(played.trace.steps)
    assert coverage.lost_records == coverage.probes.lost == coverage.bound_missed == 0
    assert sum(each.count for each in played.trace.kinds) == coverage.ended
    assert coverage.probes.recursion_misses == 0


def test_kinds_hold_the_steps_of_each_kind(played: Played) -> None:
    for figures in played.trace.kinds:
        own = [each for each in played.trace.steps if each.kind is figures.kind]
        assert figures.count == figures.durations.count == len(own)
        assert figures.durations.total == sum(each.duration_ns for each in own)
        assert figures.buckets_ns == tuple(
            sum(column) for column in zip(*(each.buckets_ns for each in own), strict=True)
        )


def test_the_legs_of_every_wait_are_counted(played: Played) -> None:
    counts = {each.leg: each.histogram.count for each in played.trace.legs}
    woken = played.trace.coverage.matched + played.trace.coverage.ambiguous
    assert counts["wakeup to run"] >= woken
    assert counts["run queue"] == counts["waking to wakeup"]
    assert counts["resume"] == 0
    assert counts["softirq"] >= 1


def lacks(trace: Trace, tracepoint: str) -> bool:
    return any(each.probe == tracepoint for each in trace.coverage.probes.missing)
