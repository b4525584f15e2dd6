# SPDX-License-Identifier: GPL-2.0-only
"""Single functions of the core, each against the obvious way to say it."""

from __future__ import annotations

import ctypes
import subprocess
from collections import Counter
from ctypes import c_uint32, c_uint64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
EXTERNAL, FIRST_LEG, BUCKETS = 9, 10, 16
TURNS = 16
CAUSE_IRQ, CAUSE_TASK, CAUSE_THREAD = 1, 2, 16


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("parts") / "parts.so"
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += ["-I", str(ROOT / "bpf"), str(ROOT / "tests/core_parts.c"), "-o", str(target)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(target))


def split(parts: ctypes.CDLL, points: list[int], out: int, end: int) -> list[int]:
    buckets = (c_uint64 * BUCKETS)()
    parts.split((c_uint64 * 4)(*points), c_uint64(out), c_uint64(end), buckets)
    return buckets[:]


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.integers(1, 40), st.integers(0, 40))
def test_each_nanosecond_is_in_the_last_leg_that_began(
    parts: ctypes.CDLL, points: list[int], out: int, length: int
) -> None:
    """Points in any order, before, inside and after the interval; 0 is no point."""
    wanted = [0] * BUCKETS
    for now in range(out, out + length):
        begun = [(point, leg) for leg, point in enumerate(points) if 0 < point <= now]
        wanted[FIRST_LEG + max(begun)[1] if begun else EXTERNAL] += 1
    assert split(parts, points, out, out + length) == wanted


@given(
    st.lists(st.integers(0, (1 << 63) - 1), min_size=4, max_size=4),
    st.integers(1, (1 << 62)),
    st.integers(0, (1 << 62)),
)
def test_the_legs_of_any_times_sum_to_the_interval(
    parts: ctypes.CDLL, points: list[int], out: int, length: int
) -> None:
    buckets = split(parts, points, out, out + length)
    assert sum(buckets) == length
    assert max(buckets) <= length


turns = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), max_size=40)


@given(turns, st.integers(0, 200), st.integers(0, 60))
def test_the_holder_is_the_task_of_the_longest_turn(
    parts: ctypes.CDLL, lengths: list[tuple[int, int]], start: int, length: int
) -> None:
    """Nanosecond by nanosecond, as far as the last turns tell; the last one still runs."""
    now, starts, owner = 100, [], {}
    for nr, (ns, tid) in enumerate(lengths):
        starts.append(now)
        owner.update(dict.fromkeys(range(now, now + ns), (nr, tid)))
        now += ns
    window = range(100 + start, 100 + start + length)
    last = (len(lengths) - 1, lengths[-1][1]) if lengths else None
    seen = [owner.get(ns, last) for ns in window]
    seen = [each for each in seen if each and each[0] >= len(lengths) - TURNS]
    by_turn = Counter(each for each in seen if each[1])
    longest = max(by_turn.items(), key=lambda item: (item[1], item[0][0]), default=None)
    tid = longest[0][1] if longest else 0
    told = (c_uint64 * 6)()
    parts.holder(
        (c_uint64 * 40)(*starts),
        (c_uint32 * 40)(*(tid for _, tid in lengths)),
        c_uint32(len(lengths)),
        c_uint64(window.start),
        c_uint64(window.stop),
        told,
    )
    held = sum(tid > 0 and each[1] == tid for each in seen)
    idle = sum(each[1] == 0 for each in seen)
    name = 1000 + tid if tid else 0
    assert told[:] == [tid, held, len(seen), idle, name, 0]


@pytest.mark.parametrize(
    ("irq_ns", "begin_ns", "raise_ns", "entry_ns"),
    [
        (90, 90, 100, 120),  # before the raise, which another interrupt made
        (110, 110, 110, 120),  # between: its chain is not older than itself
        (130, 130, 130, 130),  # while the softirq ran already
        (0, 100, 100, 120),  # polled again without an interrupt
    ],
)
def test_a_softirq_serves_one_of_its_interrupts(
    parts: ctypes.CDLL, irq_ns: int, begin_ns: int, raise_ns: int, entry_ns: int
) -> None:
    told = (c_uint64 * 5)()
    parts.serve(c_uint64(100), c_uint64(120), c_uint64(irq_ns), told)
    assert told[:] == [7, CAUSE_IRQ, begin_ns, raise_ns, entry_ns]


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (0, [CAUSE_IRQ | CAUSE_THREAD, 7, 10, 50, 5]),
        (1, [CAUSE_IRQ | CAUSE_THREAD, 8, 30, 50, 5]),  # from inside another handler
        (2, [CAUSE_THREAD, 0, 0, 50, 5]),  # a softirq whose raise was not seen
        (3, [CAUSE_TASK | CAUSE_THREAD, 98, 0, 50, 5]),  # a task that does it by itself
    ],
)
def test_an_irq_thread_carries_on_its_handler(
    parts: ctypes.CDLL, between: int, expected: list[int]
) -> None:
    told = (c_uint64 * 5)()
    parts.threaded(between, told)
    assert told[:] == expected
