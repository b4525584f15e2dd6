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

from .machine import is_slow
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
# perf opens an event for each CPU, slowly on an emulated machine.
START_S = 60
SWITCHES = "switch-ins after a wait"
# perf stamps a switch a little before or after agenttune does, emulated up to half a ms.
NEAR_NS = 500_000 if is_slow() else 20_000
_WAKING = re.compile(r"sched_waking: .* pid=(\d+) ")
_SWITCH = re.compile(r"sched_switch: .* next_comm=(.*) next_pid=(\d+) ")


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
def beside_perf(switches: Switches) -> Iterator[None]:
    """Leaving fills `switches` with what perf saw meanwhile."""
    assert shutil.which("perf"), "this needs perf (Debian: linux-perf)"
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        record = ["perf", "record", "-a", "-k", "CLOCK_MONOTONIC", "-m", "4M", "-o", str(data)]
        record += ["-e", "sched:sched_waking", "-e", "sched:sched_switch"]
        with subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as perf:
            try:
                _await_file(data)
                yield
            finally:
                perf.send_signal(signal.SIGINT)
                perf.communicate(timeout=60)
        switches.extend(_read(data))


def _await_file(path: Path) -> None:
    """perf opens its events, then writes the file's header."""
    deadline = time.monotonic() + START_S
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, "perf record does not start"
        time.sleep(0.05)
    time.sleep(1)


def _read(data: Path) -> Iterator[tuple[int, str, int]]:
    command = ["perf", "script", "-i", str(data), "--ns", "-F", "time,event,trace"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    wakings: dict[str, int] = {}
    for line in shown.stdout.splitlines():
        stamp, _, trace = line.strip().partition(": ")
        when = int(stamp.replace(".", ""))
        if found := _WAKING.search(trace):
            wakings.setdefault(found[1], when)
        elif found := _SWITCH.search(trace):
            woken = wakings.pop(found[2], None)
            yield when, found[1], 0 if woken is None else when - woken


def against_perf(switches: Switches, comm: str, trace: Trace) -> list[Comparison]:
    """Switch-ins and quantiles of waking → running within the steps of `comm`.

    Only steps that perf was there for; the quantiles are of the switch-ins whose waking both saw.
    """
    assert switches, "perf saw no switch"
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
    found = [Comparison(SWITCHES, "perf", len(waits), len(pairs), len(waits))]
    for q in QUANTILES if both else ():
        values = [sorted(pair[side] for pair in both) for side in (0, 1)]
        at_q = [side[min(len(both) - 1, int(q * len(both)))] for side in values]
        found.append(Comparison(f"waking to running, p{100 * q:g}", "perf", *at_q, len(both)))
    return found


def _delay_at(mine: list[tuple[int, int]], when_ns: int) -> int | None:
    """The delay that perf gives for the switch-in at that time; None: it has none there."""
    index = bisect_left(mine, (when_ns - NEAR_NS, 0))
    if index < len(mine) and mine[index][0] <= when_ns + NEAR_NS:
        return mine[index][1]
    return None
