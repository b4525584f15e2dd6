# SPDX-License-Identifier: GPL-2.0-only
"""Cross: agenttune's figures beside other witnesses of the same window."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agenttune.measure.trace import Bucket, Step, Trace

from .subject import Turn

OFF_CPU_RUNNABLE = (Bucket.RUN_QUEUE, Bucket.PREEMPTED, Bucket.THROTTLED)
ON_CPU = (
    Bucket.RUN,
    Bucket.SYSCALL,
    Bucket.FAULT,
    Bucket.STOLEN_HARDIRQ,
    Bucket.STOLEN_SOFTIRQ,
)
QUANTILES = (0.5, 0.95, 0.99)
SWITCHES = "switch-ins after a wait"
# perf stamps a switch before or after agenttune does; both round.
NEAR_NS = 20_000
# 'time [cpu] comm[tid] wait delay run': the turn's end in s, the others in ms.
_TIMEHIST = re.compile(
    r"\s+([\d.]+) \[\d+\]\s+(\S.*?)\[\d+(?:/\d+)?\]\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure by agenttune and by another witness; ns, or a count."""

    what: str
    witness: str
    ours: float
    theirs: float
    samples: int

    @property
    def difference(self) -> float:
        """Relative to the witness."""
        return (self.ours - self.theirs) / self.theirs if self.theirs else float(self.ours != 0)


@dataclass(frozen=True, slots=True)
class Account:
    """All steps of one kind, by agenttune and by the kernel's own accounting of the thread; ns."""

    kind: str
    steps: int
    runnable_ns: int
    schedstat_ns: int
    on_cpu_ns: int
    thread_clock_ns: int

    @property
    def runnable_off_ns(self) -> float:
        """Per step."""
        return (self.runnable_ns - self.schedstat_ns) / self.steps

    @property
    def on_cpu_off_ns(self) -> float:
        return (self.on_cpu_ns - self.thread_clock_ns) / self.steps


def accounts(turns: Iterable[Turn], trace: Trace) -> list[Account]:
    """One for each kind of turn, against /proc/PID/schedstat and CLOCK_THREAD_CPUTIME_ID."""
    steps = {step.id: step for step in trace.steps if step.comm == "at-subject"}
    pairs: dict[str, list[tuple[Turn, Step]]] = defaultdict(list)
    for turn in turns:
        if turn.id in steps:
            pairs[turn.kind].append((turn, steps[turn.id]))
    return [
        Account(
            kind=kind,
            steps=len(mine),
            runnable_ns=sum(total(step, OFF_CPU_RUNNABLE) for _, step in mine),
            schedstat_ns=sum(turn.delay_ns for turn, _ in mine),
            on_cpu_ns=sum(total(step, ON_CPU) for _, step in mine),
            thread_clock_ns=sum(turn.cpu_ns for turn, _ in mine),
        )
        for kind, mine in pairs.items()
    ]


def total(step: Step, buckets: Iterable[Bucket]) -> int:
    return sum(step.ns(bucket) for bucket in buckets)


class Switches(list[tuple[int, str, int]]):
    """Each switch-in: when, the task's comm, its delay since the waking or 0; ns."""


@contextlib.contextmanager
def perf_sched(switches: Switches) -> Iterator[None]:
    """Leaving fills `switches` with what perf saw meanwhile."""
    assert shutil.which("perf"), "this needs perf (Debian: linux-perf)"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        record = ["perf", "sched", "record", "-k", "CLOCK_MONOTONIC"]
        record += ["-m", "4M", "-o", str(data)]
        with subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as perf:
            try:
                _await_file(data)
                yield
            finally:
                perf.send_signal(signal.SIGINT)
                perf.communicate(timeout=60)
        switches.extend(_timehist(data))


def _await_file(path: Path) -> None:
    """perf opens its events, then writes the file's header."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, "perf sched record does not start"
        time.sleep(0.05)
    time.sleep(1)


def _timehist(data: Path) -> Iterator[tuple[int, str, int]]:
    shown = subprocess.run(
        ["perf", "sched", "timehist", "-i", str(data)], capture_output=True, text=True, check=True
    )
    for line in shown.stdout.splitlines():
        if found := _TIMEHIST.match(line):
            delay_ns, run_ns = (round(float(word) * 1e6) for word in found.group(4, 5))
            yield round(float(found[1]) * 1e9) - run_ns, found[2], delay_ns


def against_perf(switches: Switches, comm: str, trace: Trace) -> list[Comparison]:
    """Switch-ins and quantiles of waking → running within the steps of `comm`.

    Only steps that perf was there for. It shows whole us, and 0 where it saw no waking: the
    quantiles are of the switch-ins whose waking both saw.
    """
    assert switches, "perf sched saw no switch"
    first, last = min(switches)[0], max(switches)[0]
    mine = sorted((when, delay_ns) for when, name, delay_ns in switches if name == comm)
    waits = [
        wait
        for step in trace.steps
        if step.comm == comm and first < step.begin_ns and step.end_ns < last
        for wait in step.waits
        if wait.waking_ns
    ]
    pairs = [
        (wait.in_ns - (wait.waking_ns or 0), delay_ns)
        for wait in waits
        if (delay_ns := _delay_at(mine, wait.in_ns)) is not None
    ]
    both = [pair for pair in pairs if pair[1]]
    found = [Comparison(SWITCHES, "perf sched", len(waits), len(pairs), len(waits))]
    for q in QUANTILES if both else ():
        values = [sorted(pair[side] for pair in both) for side in (0, 1)]
        at_q = [side[min(len(both) - 1, int(q * len(both)))] for side in values]
        found.append(Comparison(f"waking to running, p{100 * q:g}", "perf sched", *at_q, len(both)))
    return found


def _delay_at(mine: list[tuple[int, int]], when_ns: int) -> int | None:
    """The delay that perf gives for the switch-in at that time; None: it has none there."""
    index = bisect_left(mine, (when_ns - NEAR_NS, 0))
    if index < len(mine) and mine[index][0] <= when_ns + NEAR_NS:
        return mine[index][1]
    return None
