# SPDX-License-Identifier: GPL-2.0-only
"""explain: true sentences, all figures, and the planned change that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
import traces
from hypothesis import given, settings
from traces import BEGIN_NS, MS, US, chain, holder, step, trace, wait

from agenttune.measure.culprit import Cause, Culprit, culprit
from agenttune.measure.trace import Bucket, CompletionKind, Ready, Step, StepKind, Thief
from agenttune.policy.remedy import Remedy
from agenttune.report.explain import explanation_text, explanations_text
from agenttune.report.explanation import explain
from agenttune.report.sentence import phrase

NET_RX_45 = Thief(45, None, "NET_RX")
VECTOR = "vector 45 (0000:00:03.0 virtio1-input.0)"
NOTHING = Remedy("nothing planned")

KSOFTIRQD_WAIT = wait(
    2_300 * US,
    11_700 * US,
    waking_ns=2_400 * US,
    wakeup_ns=BEGIN_NS + 2_410 * US,
    chain=chain(
        irq_ns=BEGIN_NS + 2_350 * US,
        raise_ns=BEGIN_NS + 2_354 * US,
        entry_ns=BEGIN_NS + 2_360 * US,
        completion=CompletionKind.SOCKET,
        subject=99,
        done_ns=BEGIN_NS + 2_390 * US,
    ),
    syscall=45,
    waker_cpu=3,
    holder=holder("ksoftirqd/3", 9_200 * US, tid=31, seen_ns=9_290 * US, softirq_thief=NET_RX_45),
)
SLOW = step(12_310 * US, [KSOFTIRQD_WAIT])
USUAL = tuple(step((2_400 + n) * US, id=n) for n in range(1, 101))


def text_of(made: Step, others: Iterable[Step] = ()) -> str:
    seen = trace([made, *others])
    return explanation_text(explain(made, seen, NOTHING), seen)


def test_the_sentence() -> None:
    found = explain(SLOW, trace([SLOW, *USUAL]), NOTHING)
    assert re.fullmatch(
        r"step 4711 \(search\) took 12\.3 ms, 9\.\d\d ms above the median of its kind \(n=101\): "
        r"9\.29 ms \(75 %\) waiting for CPU 3, held by ksoftirqd/3 running NET_RX raised by "
        + re.escape(VECTOR),
        found.sentence,
    )
    assert found.kind_median_ns == pytest.approx(2_450 * US, rel=1 / 32)


def test_without_enough_of_its_kind_nothing_is_compared() -> None:
    text = text_of(SLOW)
    assert "median" not in text
    assert "its kind has too few steps to compare with (n=1)" in text


def test_a_quick_step_is_below_the_median() -> None:
    quick = step(MS)
    assert "ms below the median" in explain(quick, trace([quick, *USUAL]), NOTHING).sentence


def test_buckets_residual_and_events() -> None:
    text = text_of(SLOW, USUAL)
    assert re.search(r"run queue +9\.29 ms +75\.5 % +\S+ us +#{30}\n", text)
    assert re.search(r"residual +0 ns\n", text)
    events = re.findall(r"^  \+(\S+) ms +(\d|-)  (.+)$", text, re.MULTILINE)
    assert events == [
        ("2.300", "3", "blocks in recvfrom"),
        ("2.350", "3", f"{VECTOR} fires"),
        ("2.354", "3", "NET_RX raised"),
        ("2.360", "3", "NET_RX begins"),
        ("2.390", "3", "socket 99 is ready"),
        ("2.400", "3", f"wakes it from NET_RX raised by {VECTOR}"),
        ("2.410", "3", "on the run queue"),
        (
            "11.700",
            "3",
            "runs again; CPU 3 meanwhile, of 9.29 ms: ksoftirqd/3 (tid 31) 9.20 ms",
        ),
    ]


def test_a_residual_is_shown_with_its_sign() -> None:
    assert re.search(r"residual +-5\.00 us\n", text_of(replace(SLOW, end_ns=SLOW.end_ns - 5 * US)))


def test_verdicts() -> None:
    missed = text_of(replace(SLOW, deadline_ns=BEGIN_NS + 10 * MS, budget_us=15_000))
    assert "it missed its deadline by 2.31 ms" in missed
    assert "it kept its budget of 15.0 ms, with 2.69 ms to spare" in missed
    met = text_of(replace(SLOW, deadline_ns=SLOW.end_ns, budget_us=10_000))
    assert "it met its deadline, with 0 ns to spare" in met
    assert "it exceeded its budget of 10.0 ms by 2.31 ms" in met
    assert "deadline" not in text_of(SLOW)


def test_what_is_not_known_is_said() -> None:
    text = text_of(replace(SLOW, nr_waits=5, ambiguous=True))
    assert "the 1 longest of its 5 waits were kept" in text
    assert "no bound socket tells their completions apart" in text


def test_waits_like_a_kept_one_are_shown_with_it() -> None:
    kept = replace(KSOFTIRQD_WAIT, like_ns=200 * US, like_waits=7)
    made = step(12_510 * US, [kept], {Bucket.EXTERNAL: 200 * US})
    assert "wait 1 of 1, 9.40 ms, and 7 like it, blocked for 200 us (from" in text_of(made)


def test_a_wake_by_an_interrupt_is_not_told_as_one_by_whom_it_interrupted() -> None:
    hidden = chain(irq=None, softirq=None, irq_cpu=None, hidden_irq=True)
    made = wait(MS, 9 * MS, waking_ns=9 * MS, chain=hidden, waker=900, waker_comm="bystander")
    text = text_of(step(12 * MS, [made]))
    assert "bystander" not in text
    assert "from an interrupt that no tracepoint shows" in text


def test_a_softirq_that_a_task_began_names_it() -> None:
    local = chain(irq=None, irq_cpu=None, origin=900, entry_ns=BEGIN_NS + 8 * MS)
    made = wait(MS, 9 * MS, waking_ns=9 * MS, chain=local, syscall=45)
    assert "from NET_RX, begun by waker (tid 900)" in text_of(step(12 * MS, [made]))


def test_a_kernel_thread_between_is_shown() -> None:
    carried = chain(
        irq_cpu=1, irq_ns=BEGIN_NS + 7 * MS, entry_ns=BEGIN_NS + 7_100 * US,
        thread_ns=BEGIN_NS + 7_200 * US, conduit=500, cpu=0, softirq="BLOCK",
        completion=CompletionKind.BLOCK, subject=259 << 32, bytes=4096, latency_ns=6 * MS,
        done_ns=BEGIN_NS + 7_150 * US,
    )  # fmt: skip
    text = text_of(step(12 * MS, [wait(MS, 9 * MS, waking_ns=9 * MS, chain=carried, in_io=True)]))
    assert re.search(r"\+7\.100 ms +1  BLOCK begins", text)
    assert re.search(r"\+7\.200 ms +-  hog \(tid 500\) is woken to carry it on", text)
    assert "block device 259:0 completes a request of 4096 bytes, after 6.00 ms" in text


def test_a_step_split_by_its_socket_shows_that_chain() -> None:
    done = {"completion": CompletionKind.SOCKET, "subject": 99, "done_ns": BEGIN_NS + 8 * MS}
    ready = Ready(99, BEGIN_NS + 8 * MS, 2, chain(irq_ns=BEGIN_NS + 7 * MS, **done))
    text = text_of(replace(SLOW, interleaved=True, ready=ready))
    assert "how its socket became ready" in text
    assert len(re.findall(r"\+8\.000 ms +3  socket 99 is ready", text)) == 1
    assert "wait 1" not in text


def test_a_record_without_steps_says_so() -> None:
    assert explanations_text((), trace()) == "no steps were recorded\n"


def test_terminals_are_safe_from_names() -> None:
    hostile = replace(SLOW, comm="a\x1b[2J", name="b\x07")
    assert text_of(hostile).replace("\n", "").isprintable()


@settings(max_examples=60)
@given(traces.steps())
def test_any_step_can_be_explained(made: Step) -> None:
    text = text_of(made)
    assert text.replace("\n", "").isprintable()
    assert "None" not in text.replace(made.comm, "").replace(made.name, "")


ON_QUEUE = KSOFTIRQD_WAIT


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Culprit(Cause.RUN_QUEUE, MS, Bucket.RUN_QUEUE, "hog", 5, cpu=3),
            "waiting for CPU 3, held by hog (tid 5)"),
        (Culprit(Cause.RUN_QUEUE, MS, Bucket.RUN_QUEUE),
            "waiting for a CPU, in waits too short to be kept; by whom is not known"),
        (Culprit(Cause.RUN_QUEUE, MS, Bucket.RUN_QUEUE, cpu=3, wait=ON_QUEUE, waits=1),
            "waiting for CPU 3, by whom it was held is not known"),
        (Culprit(Cause.PREEMPTED, MS, Bucket.PREEMPTED, "hog", cpu=3, waits=9),
            "preempted on CPU 3, held by hog, in 9 waits"),
        (Culprit(Cause.MIGRATION, MS, Bucket.RUN_QUEUE, "hog", 5, cpu=2,
                 wait=ON_QUEUE, waits=1),
            "waiting for CPU 2, held by hog (tid 5), until it was moved to CPU 3"),
        (Culprit(Cause.THROTTLED, MS, Bucket.THROTTLED),
            "throttled: its cgroup had used up its cpu.max"),
        (Culprit(Cause.THROTTLED, MS, Bucket.PREEMPTED, cpu=3, wait=ON_QUEUE, waits=1),
            "runnable while CPU 3 idled, as under a cgroup's cpu.max "
            "(the throttling itself was not seen)"),
        (Culprit(Cause.SOFTIRQ, MS, Bucket.STOLEN_SOFTIRQ, irq=45, softirq="NET_RX"),
            f"stolen while it ran, by NET_RX raised by {VECTOR}"),
        (Culprit(Cause.SOFTIRQ, MS, Bucket.CHAIN_PENDING, softirq="TIMER", cpu=1),
            "waiting for TIMER to begin on CPU 1"),
        (Culprit(Cause.HARDIRQ, MS, Bucket.STOLEN_HARDIRQ, arch="LOC"),
            "stolen while it ran, by the handler of the local timer (LOC)"),
        (Culprit(Cause.HARDIRQ, MS, Bucket.RUN_QUEUE, irq=7, cpu=0),
            "waiting for CPU 0, taken by the handler of vector 7"),
        (Culprit(Cause.IRQ_THREAD, MS, Bucket.CHAIN_THREAD, "irq/45-v", 8),
            "waiting for irq/45-v (tid 8) to carry the completion on"),
        (Culprit(Cause.IPI, MS, Bucket.WAKE_IPI, cpu=1),
            "between its waking and its arrival on CPU 1's run queue"),
        (Culprit(Cause.IPI, MS, Bucket.RUN_QUEUE, cpu=1), "waiting for CPU 1 to leave idle"),
        (Culprit(Cause.DISK, MS, Bucket.EXTERNAL, subject=259 << 32 | 3),
            "waiting for block device 259:3"),
        (Culprit(Cause.FAULT, MS, Bucket.EXTERNAL, "uffd", 4, wait=ON_QUEUE),
            "blocked in page faults, ended by uffd (tid 4)"),
        (Culprit(Cause.FAULT, MS, Bucket.FAULT), "handling page faults on the CPU"),
        (Culprit(Cause.PEER, MS, Bucket.EXTERNAL, "server", 4),
            "waiting for its socket's peer, server (tid 4) on this host"),
        (Culprit(Cause.PEER, MS, Bucket.EXTERNAL, irq=45),
            f"waiting for its socket's peer, whose reply came through {VECTOR}"),
        (Culprit(Cause.CHILD, MS, Bucket.EXTERNAL, "sleep", 4),
            "waiting for a child process, sleep (tid 4)"),
        (Culprit(Cause.FUTEX, MS, Bucket.EXTERNAL),
            "waiting for a futex, released by a task not known"),
        (Culprit(Cause.PIPE, MS, Bucket.EXTERNAL, "cat", 4),
            "waiting for a pipe's other end, cat (tid 4)"),
        (Culprit(Cause.TIMER, MS, Bucket.EXTERNAL), "asleep until a timer fired"),
        (Culprit(Cause.URING, MS, Bucket.EXTERNAL), "waiting for io_uring"),
        (Culprit(Cause.UNKNOWN, MS, Bucket.UNSEEN),
            "not accounted for: the events that would tell were not seen"),
        (Culprit(Cause.UNKNOWN, MS, Bucket.EXTERNAL), "blocked in waits too short to be kept"),
    ],
)  # fmt: skip
def test_phrases(found: Culprit, words: str) -> None:
    assert phrase(found, trace()) == words


def test_a_holder_of_part_of_the_time_is_told_as_that() -> None:
    made = wait(MS, 10 * MS, holder=holder("hog", 5 * MS, seen_ns=9 * MS))
    found = culprit(step(12 * MS, [made]), trace())
    assert phrase(found, trace()).endswith("for 5.00 ms of it, longer than by any other")


def test_kinds_are_compared_with_their_own() -> None:
    other = step(50 * MS, id=9, kind=StepKind.MODEL)
    found = explain(other, trace([other, *USUAL]), NOTHING)
    assert (found.kind_count, found.kind_median_ns) == (1, None)
