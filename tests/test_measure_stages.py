# SPDX-License-Identifier: GPL-2.0-only
"""bpf/stages.h and bpf/histogram.h, compiled for user space and driven by random frames."""

from __future__ import annotations

import ctypes
import subprocess
from collections import Counter
from collections.abc import Callable
from ctypes import POINTER, byref, c_int, c_uint32, c_uint64, sizeof
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenttune.measure.histogram import bucket_of
from agenttune.measure.layout import SOFTIRQ_NAMES, Cpu

ROOT = Path(__file__).parent.parent
UNKNOWN = (1 << 64) - 1
TASK, IDLE, HARDIRQ, SOFTIRQ = range(4)
NET_RX = SOFTIRQ_NAMES.index("NET_RX")
TIMER = SOFTIRQ_NAMES.index("TIMER")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("stages") / "stages.so"
    command = ["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += ["-I", str(ROOT / "bpf"), str(ROOT / "tests/stages.c"), "-o", str(target)]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(target))
    cpu = POINTER(Cpu)
    shapes: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hardirq_enter": (None, (cpu, c_uint32, c_uint64)),
        "hardirq_exit": (c_uint64, (cpu, c_uint32, c_uint64)),
        "softirq_raise": (None, (cpu, c_uint32, c_int, c_uint64)),
        "softirq_enter": (c_uint64, (cpu, c_uint32, c_uint64)),
        "softirq_exit": (c_uint64, (cpu, c_uint32, c_uint64)),
        "switch_matters": (c_int, (cpu,)),
        "switch_to": (None, (cpu, c_uint32, c_uint32, c_uint64)),
        "turn_begin": (None, (cpu, c_uint64)),
        "turn_end": (c_uint64, (cpu, c_uint64, POINTER(c_uint64))),
        "context": (c_uint32, (cpu, c_uint32)),
        "bucket": (c_uint32, (c_uint64,)),
        "cpu_size": (c_uint32, ()),
    }
    for name, (result, arguments) in shapes.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Bench:
    """One CPU with a clock, and a model that charges each nanosecond to the innermost frame."""

    def __init__(self, core: ctypes.CDLL) -> None:
        self.core = core
        self.cpu = Cpu()
        self.now = 1_000
        self.frames: list[str] = ["task"]
        self.model: Counter[str] = Counter()
        self.told: Counter[str] = Counter()

    def pass_ns(self, ns: int) -> None:
        self.now += ns
        self.model[self.frames[-1]] += ns

    def hardirq(self, irq: int, body: Callable[[], None]) -> None:
        name = f"irq {irq}"
        self.core.hardirq_enter(byref(self.cpu), irq, self.now)
        self.frames.append(name)
        body()
        self.told[name] += self.core.hardirq_exit(byref(self.cpu), irq, self.now)
        self.frames.pop()

    def softirq(self, vector: int, body: Callable[[], None]) -> None:
        name = f"softirq {vector}"
        self.core.softirq_raise(byref(self.cpu), vector, 0, self.now)
        self.core.softirq_enter(byref(self.cpu), vector, self.now)
        self.frames.append(name)
        body()
        self.told[name] += self.core.softirq_exit(byref(self.cpu), vector, self.now)
        self.frames.pop()


# A program of frames: numbers let time pass, tuples are frames with a body.
times = st.integers(0, 1_000_000)
nested_irqs = st.recursive(
    st.lists(times, max_size=3),
    lambda inner: st.lists(times | st.tuples(st.integers(1, 9), inner), max_size=3),
    max_leaves=4,
)
# Four hardirq frames are the most that nest (AT_HARDIRQ_FRAMES).


def depth(body: list[Any]) -> int:
    return max((1 + depth(part[1]) for part in body if isinstance(part, tuple)), default=0)


irqs = st.tuples(st.integers(1, 9), nested_irqs.filter(lambda body: depth(body) < 4))
softirqs = st.tuples(st.integers(0, 9), st.lists(times | irqs, max_size=4), st.just("softirq"))
task_time = st.lists(times | irqs | softirqs, max_size=8)


def play(bench: Bench, body: list[Any]) -> None:
    for part in body:
        match part:
            case int():
                bench.pass_ns(part)
            case (vector, inner, "softirq"):
                bench.softirq(vector, lambda inner=inner: play(bench, inner))
            case (irq, inner):
                bench.hardirq(irq, lambda inner=inner: play(bench, inner))


@given(task_time)
def test_every_nanosecond_belongs_to_one_frame(core: ctypes.CDLL, body: list[Any]) -> None:
    """Each frame's time excludes what nested in it, and the turn's parts sum to its length."""
    bench = Bench(core)
    begin = bench.now
    core.turn_begin(byref(bench.cpu), begin)
    play(bench, body)
    stolen = c_uint64()
    own = core.turn_end(byref(bench.cpu), bench.now, byref(stolen))
    assert own == bench.model.pop("task", 0)
    assert {k: v for k, v in bench.told.items() if v} == {k: v for k, v in bench.model.items() if v}
    assert own + stolen.value == bench.now - begin
    assert bench.cpu.unpaired == 0
    assert bench.cpu.depth == 0


events = st.lists(
    st.tuples(
        st.sampled_from(["enter", "exit", "raise", "soft_enter", "soft_exit", "switch"]),
        st.integers(0, 12),
        st.integers(0, 1_000_000),
    ),
    max_size=60,
)


@given(events)
def test_events_in_any_order_give_no_negative_time(core: ctypes.CDLL, body: list[Any]) -> None:
    """Lost events make frames unpaired; no time is ever more than what passed."""
    cpu, now, begin = Cpu(), 1_000, 1_000
    for event, number, ns in body:
        now += ns
        match event:
            case "enter":
                core.hardirq_enter(byref(cpu), number, now)
                told = 0
            case "exit":
                told = core.hardirq_exit(byref(cpu), number, now)
            case "raise":
                core.softirq_raise(byref(cpu), number, 0, now)
                told = 0
            case "soft_enter":
                told = core.softirq_enter(byref(cpu), number, now)
            case "soft_exit":
                told = core.softirq_exit(byref(cpu), number, now)
            case _:
                core.switch_to(byref(cpu), number, number + 1, now)
                told = 0
        assert told == UNKNOWN or told <= now - begin
        assert cpu.hardirq_ns + cpu.softirq_ns <= now - begin
        assert cpu.depth <= len(cpu.hardirqs)


def test_an_exit_without_entry_is_unpaired(core: ctypes.CDLL) -> None:
    cpu = Cpu()
    assert core.hardirq_exit(byref(cpu), 5, 100) == UNKNOWN
    assert core.softirq_exit(byref(cpu), NET_RX, 100) == UNKNOWN
    assert cpu.unpaired == 2


def test_a_missed_exit_does_not_hide_the_frame_below(core: ctypes.CDLL) -> None:
    cpu = Cpu()
    core.hardirq_enter(byref(cpu), 5, 100)
    core.hardirq_enter(byref(cpu), 6, 110)
    assert core.hardirq_exit(byref(cpu), 5, 150) == 50
    assert (cpu.unpaired, cpu.depth) == (1, 0)


def test_frames_left_open_end_where_hardirqs_cannot_be(core: ctypes.CDLL) -> None:
    cpu = Cpu()
    core.hardirq_enter(byref(cpu), 5, 100)
    core.softirq_raise(byref(cpu), NET_RX, 0, 105)
    core.softirq_enter(byref(cpu), NET_RX, 110)
    assert core.context(byref(cpu), TASK) == SOFTIRQ + NET_RX
    assert cpu.unpaired == 1


def test_the_innermost_frame_is_the_context(core: ctypes.CDLL) -> None:
    cpu = Cpu()
    assert core.context(byref(cpu), IDLE) == IDLE
    core.softirq_raise(byref(cpu), TIMER, 0, 100)
    core.softirq_enter(byref(cpu), TIMER, 100)
    assert core.context(byref(cpu), TASK) == SOFTIRQ + TIMER
    core.hardirq_enter(byref(cpu), 9, 110)
    assert core.context(byref(cpu), TASK) == HARDIRQ
    core.hardirq_exit(byref(cpu), 9, 120)
    assert core.context(byref(cpu), TASK) == SOFTIRQ + TIMER
    core.softirq_exit(byref(cpu), TIMER, 130)
    assert core.context(byref(cpu), TASK) == TASK


def test_latency_is_from_the_first_raise(core: ctypes.CDLL) -> None:
    cpu = Cpu()
    core.softirq_raise(byref(cpu), NET_RX, 0, 100)
    core.softirq_raise(byref(cpu), NET_RX, 1, 150)
    assert core.softirq_enter(byref(cpu), NET_RX, 180) == 80


def test_a_raise_after_the_snapshot_belongs_to_the_next_round(core: ctypes.CDLL) -> None:
    """TIMER and NET_RX are in one round; an interrupt raises NET_RX again before it is entered."""
    cpu = Cpu()
    core.softirq_raise(byref(cpu), TIMER, 0, 100)
    core.softirq_raise(byref(cpu), NET_RX, 0, 110)
    core.softirq_enter(byref(cpu), TIMER, 120)
    core.softirq_raise(byref(cpu), NET_RX, 0, 130)
    core.softirq_exit(byref(cpu), TIMER, 140)
    assert core.softirq_enter(byref(cpu), NET_RX, 150) == 40
    core.softirq_exit(byref(cpu), NET_RX, 160)
    assert core.softirq_enter(byref(cpu), NET_RX, 170) == 40
    assert cpu.unpaired == 0


def test_a_preempted_softirq_is_charged_for_its_own_task_only(core: ctypes.CDLL) -> None:
    """PREEMPT_RT: task 7 runs NET_RX, is preempted by 8 for 1000 ns, and goes on."""
    cpu = Cpu()
    core.softirq_raise(byref(cpu), NET_RX, 0, 100)
    core.softirq_enter(byref(cpu), NET_RX, 100)
    assert core.switch_matters(byref(cpu))
    core.switch_to(byref(cpu), 7, 8, 150)
    assert core.context(byref(cpu), TASK) == TASK
    core.switch_to(byref(cpu), 8, 7, 1150)
    assert core.context(byref(cpu), TASK) == SOFTIRQ + NET_RX
    core.hardirq_enter(byref(cpu), 5, 1160)
    core.hardirq_exit(byref(cpu), 5, 1170)
    assert core.softirq_exit(byref(cpu), NET_RX, 1200) == 50 + 40
    assert (cpu.softirq_ns, cpu.unpaired) == (90, 0)
    assert not core.switch_matters(byref(cpu))


@given(st.integers(0, (1 << 64) - 1) | st.integers(0, 1 << 36))
def test_buckets_are_those_of_python(core: ctypes.CDLL, value: int) -> None:
    assert core.bucket(value) == bucket_of(value)


def test_the_structure_is_that_of_python(core: ctypes.CDLL) -> None:
    assert core.cpu_size() == sizeof(Cpu)
