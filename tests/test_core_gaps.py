# SPDX-License-Identifier: GPL-2.0-only
"""What the core says of one wait when one of its events is missing, late or early."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from core_model import (
    BLOCKED,
    BY_IRQ,
    EXTERNAL,
    HARDIRQ,
    HIDDEN,
    NO_WAKEUP,
    NO_WAKING,
    PENDING,
    PREEMPTED,
    RUN,
    RUN_QUEUE,
    SHARED,
    SOFTIRQ,
    THREAD,
    UNSEEN,
    WAKE_IPI,
)
from core_world import (
    BEGIN,
    COMPLETE,
    END,
    EVENT,
    HARDIRQ_ENTER,
    HARDIRQ_EXIT,
    RAISE,
    SOFTIRQ_ENTER,
    SOFTIRQ_EXIT,
    SWITCH,
    WAKEUP,
    WAKING,
)
from test_core_properties import Told, build_replayer, replay

Line = tuple[int, int, int, dict[str, int]]
AGENT, OTHER, KTHREAD = 1, 210, 70
NET_RX = 3


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_replayer(tmp_path_factory.mktemp("gaps"))


def packed(lines: Iterable[Line]) -> list[bytes]:
    fields = ("one", "other", "tid", "number")
    events = []
    for now, cpu, kind, words in lines:
        assert not words.keys() - set(fields)
        one, other, tid, number = (words.get(name, 0) for name in fields)
        events.append(EVENT.pack(now, one, other, kind, cpu, tid, number))
    return events


def at(now: int, cpu: int, kind: int, **words: int) -> Line:
    return now, cpu, kind, words


def step(replayer: Path, *middle: Line) -> Told:
    """One step of the agent from 1000 to 9000 on CPU 0 with `middle` in it."""
    lines = [
        at(900, 0, SWITCH, number=AGENT),
        at(1000, 0, BEGIN, tid=AGENT, one=7),
        *middle,
        at(9000, 0, END, tid=AGENT, one=7),
    ]
    (told,) = replay(replayer, packed(lines)).steps
    return told


def buckets(told: Told) -> dict[int, int]:
    return {bucket: ns for bucket, ns in enumerate(told.step[11:27]) if ns}


def flags(told: Told) -> int:
    (wait,) = told.waits
    return wait[7]


OUT = at(2000, 0, SWITCH, tid=AGENT, number=OTHER, one=BLOCKED)
BACK = at(8000, 0, SWITCH, tid=OTHER, number=AGENT)
WOKEN = at(5000, 1, WAKING, tid=AGENT, one=OTHER)
QUEUED = at(5500, 1, WAKEUP, tid=AGENT, number=0)


def test_a_whole_wait(replayer: Path) -> None:
    told = step(replayer, OUT, WOKEN, QUEUED, BACK)
    assert buckets(told) == {RUN: 2000, EXTERNAL: 3000, WAKE_IPI: 500, RUN_QUEUE: 2500}
    assert flags(told) == BLOCKED


def test_an_unseen_waking_is_said_to_be_unseen(replayer: Path) -> None:
    told = step(replayer, OUT, BACK)
    assert buckets(told) == {RUN: 2000, UNSEEN: 6000}
    assert flags(told) == BLOCKED | NO_WAKING
    assert told.waits[0][26] == 0, "nobody held the CPU of a thread that may not have been runnable"


def test_a_missed_waking_was_not_later_than_its_wakeup(replayer: Path) -> None:
    told = step(replayer, OUT, QUEUED, BACK)
    assert buckets(told) == {RUN: 2000, EXTERNAL: 3500, RUN_QUEUE: 2500}
    assert flags(told) == BLOCKED
    assert told.waits[0][10] == 0, "who woke it is not known"
    assert told.step[10] == 1, "and it is counted"


def test_an_unseen_wakeup_makes_its_leg_part_of_the_run_queue(replayer: Path) -> None:
    told = step(replayer, OUT, WOKEN, BACK)
    assert buckets(told) == {RUN: 2000, EXTERNAL: 3000, RUN_QUEUE: 3000}
    assert flags(told) == BLOCKED | NO_WAKEUP


def test_a_waking_while_it_runs_is_stale(replayer: Path) -> None:
    early = at(1500, 1, WAKING, tid=AGENT, one=OTHER)
    done = at(1600, 1, WAKEUP, tid=AGENT, number=0)
    told = step(replayer, early, done, OUT, BACK)
    assert buckets(told) == {RUN: 2000, UNSEEN: 6000}
    told = step(replayer, early, done, OUT, WOKEN, QUEUED, BACK)
    assert buckets(told) == {RUN: 2000, EXTERNAL: 3000, WAKE_IPI: 500, RUN_QUEUE: 2500}
    assert told.step[9] == 1, "it is coalesced"


def test_a_waking_that_races_with_the_switch_out_ends_the_wait(replayer: Path) -> None:
    """The waker began before the thread had left, and queued it after."""
    early = at(1999, 1, WAKING, tid=AGENT, one=OTHER)
    told = step(replayer, early, OUT, at(2300, 1, WAKEUP, tid=AGENT, number=0), BACK)
    assert buckets(told) == {RUN: 2000, WAKE_IPI: 300, RUN_QUEUE: 5700}
    assert (flags(told), told.step[9]) == (BLOCKED, 0)


def test_a_clock_ahead_does_not_hide_the_waking(replayer: Path) -> None:
    """The waker's CPU is 100 ns ahead of the one that runs the thread at once."""
    told = step(
        replayer,
        OUT,
        at(8100, 1, WAKING, tid=AGENT, one=OTHER),
        at(8150, 1, WAKEUP, tid=AGENT, number=0),
        BACK,
    )
    assert buckets(told) == {RUN: 2000, EXTERNAL: 6000}
    assert flags(told) == BLOCKED


def test_a_missed_switch_in_leaves_what_came_after_the_wakeup_unseen(replayer: Path) -> None:
    """The mark shows that the thread runs: its wait had ended, nobody knows when."""
    told = step(replayer, OUT, WOKEN, QUEUED)
    assert buckets(told) == {RUN: 1000, EXTERNAL: 3000, WAKE_IPI: 500, UNSEEN: 3500}
    (wait,) = told.waits
    assert wait[:4] == (2000, 5000, 5500, 5500)
    assert wait[26:31] == (0, 0, 0, 0, 0), "who held the CPU is not known"


def test_a_missed_switch_in_before_a_seen_switch_out(replayer: Path) -> None:
    told = step(
        replayer,
        OUT,
        WOKEN,
        QUEUED,
        at(6000, 0, SWITCH, tid=AGENT, number=OTHER, one=0),
        BACK,
    )
    assert buckets(told) == {
        RUN: 2000,
        EXTERNAL: 3000,
        WAKE_IPI: 500,
        UNSEEN: 500,
        PREEMPTED: 2000,
    }
    assert told.step[6:8] == (2, 1), "two waits, one of them a preemption"


def test_a_missed_switch_in_without_a_waking_is_unseen(replayer: Path) -> None:
    assert buckets(step(replayer, OUT)) == {RUN: 1000, UNSEEN: 7000}


def test_a_missed_switch_out_leaves_the_time_unseen(replayer: Path) -> None:
    told = step(replayer, WOKEN, QUEUED, BACK)
    assert buckets(told) == {UNSEEN: 7000, RUN: 1000}
    assert not told.waits


def test_a_thread_that_turns_up_on_another_cpu_leaves_the_time_unseen(replayer: Path) -> None:
    told = step(replayer, at(4000, 1, SWITCH, tid=AGENT, number=OTHER, one=0), BACK)
    assert buckets(told) == {UNSEEN: 3000, PREEMPTED: 4000, RUN: 1000}


def net_rx(cpu: int, start: int, irq: int) -> list[Line]:
    return [
        at(start, cpu, HARDIRQ_ENTER, number=irq),
        at(start + 100, cpu, RAISE, number=NET_RX),
        at(start + 200, cpu, HARDIRQ_EXIT, number=irq),
        at(start + 300, cpu, SOFTIRQ_ENTER, number=NET_RX),
    ]


def test_a_softirq_that_raises_itself_begins_a_new_chain_of_the_same_interrupt(
    replayer: Path,
) -> None:
    """net_rx_action() with its budget used up: the hardirq did not last until the second raise."""
    told = step(
        replayer,
        OUT,
        *net_rx(1, 3000, 25),
        at(5000, 1, RAISE, number=NET_RX),
        at(5100, 1, SOFTIRQ_EXIT, number=NET_RX),
        at(5300, 1, SOFTIRQ_ENTER, number=NET_RX),
        at(5700, 1, WAKING, tid=AGENT, one=0),
        at(5700, 1, WAKEUP, tid=AGENT, number=0),
        BACK,
    )
    assert buckets(told) == {RUN: 2000, EXTERNAL: 3000, PENDING: 300, SOFTIRQ: 400, RUN_QUEUE: 2300}
    chain = told.waits[0][12:21]
    assert (chain[0], chain[4], chain[8]) == (0, 25, BY_IRQ)


def test_kernel_threads_in_a_row_are_one_leg(replayer: Path) -> None:
    """An interrupt wakes one kernel thread, that one another, and the other the agent."""
    told = step(
        replayer,
        OUT,
        at(3000, 1, HARDIRQ_ENTER, number=25),
        at(3100, 1, WAKING, tid=KTHREAD),
        at(3200, 1, HARDIRQ_EXIT, number=25),
        at(3300, 1, SWITCH, number=KTHREAD),
        at(4000, 1, WAKING, tid=KTHREAD + 1, one=KTHREAD),
        at(4100, 1, SWITCH, tid=KTHREAD, number=KTHREAD + 1),
        at(5000, 1, WAKING, tid=AGENT, one=KTHREAD + 1),
        at(5000, 1, WAKEUP, tid=AGENT, number=0),
        BACK,
    )
    assert buckets(told) == {RUN: 2000, EXTERNAL: 1000, HARDIRQ: 100, THREAD: 1900, RUN_QUEUE: 3000}
    assert told.waits[0][18] == KTHREAD + 1


def test_an_unseen_raise_leaves_the_chain_without_a_cause(replayer: Path) -> None:
    told = step(
        replayer,
        OUT,
        at(3000, 1, SOFTIRQ_ENTER, number=NET_RX),
        at(5000, 1, WAKING, tid=AGENT),
        at(5000, 1, WAKEUP, tid=AGENT, number=0),
        BACK,
    )
    assert buckets(told) == {RUN: 2000, EXTERNAL: 1000, SOFTIRQ: 2000, RUN_QUEUE: 3000}
    assert (told.step[10], told.waits[0][20]) == (1, 0), "unattributed"


def test_two_unentered_raises_resynchronise_at_the_third(replayer: Path) -> None:
    """The entries of two rounds were missed: the third raise is not taken for the first."""
    told = step(
        replayer,
        OUT,
        *net_rx(1, 2100, 21)[:3],
        *net_rx(1, 2400, 22)[:3],
        *net_rx(1, 2700, 23)[:3],
        at(3000, 1, SOFTIRQ_ENTER, number=NET_RX),
        at(3010, 1, SOFTIRQ_EXIT, number=NET_RX),
        at(3020, 1, SOFTIRQ_ENTER, number=NET_RX),
        WOKEN,
        QUEUED,
        BACK,
    )
    assert told.waits[0][16] == 23


def test_an_interrupt_that_raises_shares_the_rounds_to_come(replayer: Path) -> None:
    """Its NAPI is polled by the first of them, though its raise may be for the second."""
    told = step(
        replayer,
        OUT,
        *net_rx(1, 3000, 25)[:3],
        *net_rx(1, 3400, 26)[:3],
        at(3700, 1, HARDIRQ_ENTER, number=27),
        at(3710, 1, RAISE, number=NET_RX, one=1),
        at(3720, 1, HARDIRQ_EXIT, number=27),
        at(3800, 1, SOFTIRQ_ENTER, number=NET_RX),
        at(3900, 1, WAKING, tid=AGENT),
        at(3900, 0, WAKEUP, tid=AGENT, number=0),
        at(4000, 0, SWITCH, tid=OTHER, number=AGENT),
        at(4100, 0, SWITCH, tid=AGENT, number=OTHER, one=BLOCKED),
        at(4200, 1, SOFTIRQ_EXIT, number=NET_RX),
        at(4300, 1, SOFTIRQ_ENTER, number=NET_RX),
        WOKEN,
        QUEUED,
        BACK,
    )
    chains = {(wait[16], wait[20]) for wait in told.waits}
    assert chains == {(25, BY_IRQ | SHARED), (26, BY_IRQ | SHARED)}


def test_an_interrupt_in_the_middle_of_net_rx_shares_it(replayer: Path) -> None:
    """net_rx_action() polls for it without another raise; other softirqs do not work for it."""
    for vector, flags in ((NET_RX, BY_IRQ | SHARED), (NET_RX + 1, BY_IRQ)):
        told = step(
            replayer,
            OUT,
            at(3000, 1, HARDIRQ_ENTER, number=25),
            at(3010, 1, RAISE, number=vector),
            at(3020, 1, HARDIRQ_EXIT, number=25),
            at(3100, 1, SOFTIRQ_ENTER, number=vector),
            at(3200, 1, HARDIRQ_ENTER, number=26),
            at(3210, 1, HARDIRQ_EXIT, number=26),
            WOKEN,
            QUEUED,
            BACK,
        )
        assert (told.waits[0][16], told.waits[0][20]) == (25, flags)


def test_a_hidden_interrupt_does_not_carry_the_tasks_completion(replayer: Path) -> None:
    told = step(
        replayer,
        OUT,
        at(3000, 1, SWITCH, number=OTHER + 1),
        at(3100, 1, COMPLETE, number=1, one=42),
        at(5000, 1, WAKING, tid=AGENT, number=1, one=OTHER + 1),
        QUEUED,
        BACK,
    )
    assert told.waits[0][20] == HIDDEN
    assert told.waits[0][23] == 0


def test_interrupt_time_before_the_wakeup_is_not_the_run_queues(replayer: Path) -> None:
    """A softirq of 3 us wakes the thread 500 ns before its end."""
    told = step(
        replayer,
        OUT,
        *net_rx(0, 2100, 25),
        at(4900, 0, WAKING, tid=AGENT),
        at(4900, 0, WAKEUP, tid=AGENT, number=0),
        at(5400, 0, SOFTIRQ_EXIT, number=NET_RX),
        BACK,
    )
    assert told.waits[0][8:10] == (0, 500)


def test_a_wait_in_a_slot_forgets_the_wait_before(replayer: Path) -> None:
    """The second wait was a preemption: no chain, no waker, no thief of the first one's."""
    lines = [
        at(900, 0, SWITCH, number=AGENT),
        at(1000, 0, BEGIN, tid=AGENT, one=7),
        OUT,
        *net_rx(1, 3000, 25),
        WOKEN,
        QUEUED,
        BACK,
        at(9000, 0, END, tid=AGENT, one=7),
        at(9100, 0, BEGIN, tid=AGENT, one=8),
        at(9200, 0, SWITCH, tid=AGENT, number=OTHER),
        at(9900, 0, SWITCH, tid=OTHER, number=AGENT),
        at(9950, 0, END, tid=AGENT, one=8),
    ]
    (wait,) = replay(replayer, packed(lines)).steps[1].waits
    assert wait[1:3] == (0, 0)
    assert (wait[10], wait[20], wait[23]) == (0, 0, 0)


def test_a_step_inside_a_long_one_keeps_its_waits(replayer: Path) -> None:
    lines = [at(900, 0, SWITCH, number=AGENT), at(1000, 0, BEGIN, tid=AGENT, one=7)]
    now = 2000
    for _ in range(9):
        lines += [at(now, 0, SWITCH, tid=AGENT, number=OTHER)]
        lines += [at(now + 5000, 0, SWITCH, tid=OTHER, number=AGENT)]
        now += 6000
    lines += [at(now, 0, BEGIN, tid=AGENT, one=8)]
    lines += [at(now + 10, 0, SWITCH, tid=AGENT, number=OTHER)]
    lines += [at(now + 40, 0, SWITCH, tid=OTHER, number=AGENT)]
    lines += [at(now + 50, 0, END, tid=AGENT, one=8), at(now + 60, 0, END, tid=AGENT, one=7)]
    inner, outer = replay(replayer, packed(lines)).steps
    assert [wait[3] - wait[0] for wait in inner.waits] == [30]
    assert len(outer.waits) == 8


def test_a_ninth_open_step_is_refused(replayer: Path) -> None:
    lines = [at(900, 0, SWITCH, number=AGENT)]
    lines += [at(1000 + each, 0, BEGIN, tid=AGENT, one=1 + each) for each in range(9)]
    lines += [at(2000 + each, 0, END, tid=AGENT, one=1 + each) for each in range(9)]
    told = replay(replayer, packed(lines))
    assert len(told.steps) == 8
    assert told.run[2:] == (1, 1)


def test_an_id_that_is_open_begins_anew(replayer: Path) -> None:
    """Its end was missed: eight such do not fill the slots."""
    lines = [at(900, 0, SWITCH, number=AGENT)]
    lines += [at(1000 + each, 0, BEGIN, tid=AGENT, one=1) for each in range(20)]
    lines += [at(2000, 0, END, tid=AGENT, one=1)]
    (told,) = replay(replayer, packed(lines)).steps
    assert told.step[1:3] == (1019, 2000)
