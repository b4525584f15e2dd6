# SPDX-License-Identifier: GPL-2.0-only
"""Probe irq-to-run against the same chains, read from ftrace by a second program."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from measure_loads import COMM, agent
from probe_loads import BY_COMM, DISK_READER, disk_file, probing

from agenttune.measure.histogram import merge
from agenttune.measure.probe_layout import ProbeName

pytestmark = pytest.mark.bpf

INSTANCES = Path("/sys/kernel/tracing/instances")
EVENTS = (
    "irq/irq_handler_entry",
    "irq/irq_handler_exit",
    "sched/sched_waking",
    "sched/sched_switch",
)
LINE = re.compile(r"\[(\d+)\]\s+\S+\s+([\d.]+): (\w+): (.*)")
READS = 400


@contextlib.contextmanager
def tracing() -> Iterator[Path]:
    """An ftrace instance of our own: the host's own trace is left alone."""
    assert INSTANCES.is_dir(), "this test needs tracefs mounted on /sys/kernel/tracing"
    instance = INSTANCES / f"at-test-{os.getpid()}"
    instance.mkdir()
    try:
        (instance / "trace_clock").write_text("mono")
        (instance / "buffer_size_kb").write_text("4096")
        for event in EVENTS:
            (instance / "events" / event / "enable").write_text("1")
        yield instance
    finally:
        (instance / "events/enable").write_text("0")
        instance.rmdir()


def runs_us(lines: list[str]) -> list[float]:
    """The agent's runs since the last handler's exit on the CPU that woke it."""
    found: list[float] = []
    handling: set[int] = set()
    exits: dict[int, float] = {}
    waker: int | None = None
    for cpu, now, event, rest in events(lines):
        if event == "irq_handler_entry":
            handling.add(cpu)
        elif event == "irq_handler_exit":
            handling.discard(cpu)
            exits[cpu] = now
        elif event == "sched_waking" and f"comm={COMM} " in rest:
            waker = cpu
        elif event == "sched_switch" and f"next_comm={COMM} " in rest:
            if waker in exits and waker not in handling:
                found.append(now - exits[waker])
            waker = None
    return found


def events(lines: list[str]) -> Iterator[tuple[int, float, str, str]]:
    for line in lines:
        if match := LINE.search(line):
            yield int(match[1]), float(match[2]) * 1e6, match[3], match[4]


@pytest.fixture
def script() -> Iterator[str]:
    with disk_file(1 << 20) as place:
        yield DISK_READER.replace("{place}", str(place))


def test_ftrace_shows_the_same_chains(script: str) -> None:
    """Medians only: one 6.18 kernel leaves out some of ftrace's events, and ftrace prints whole us.

    Nothing but its disk wakes this agent, so the exit before its waking is the waking chain's.
    """
    with tracing() as instance, agent(script, READS) as reader:
        reader.hear()
        with probing(ProbeName.IRQ_TO_RUN, BY_COMM) as probed:
            (instance / "trace").write_text("")
            reader.poke()
            reader.hear()
            probed.stop()
        seen = runs_us((instance / "trace").read_text().splitlines())
    exact = merge(probed.times("irq-to-run-exact").values())
    assert exact.count >= 0.8 * READS
    assert len(seen) >= READS // 10
    median = exact.quantile(0.5)
    assert median
    assert close(median.value / 1e3, statistics.median(seen))


def close(one_us: float, other_us: float) -> bool:
    return abs(one_us - other_us) <= 3 + 0.2 * max(one_us, other_us)
