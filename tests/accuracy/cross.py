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
# 'time [cpu] comm[tid] wait delay run', the times in ms.
_TIMEHIST = re.compile(
    r"\s+[\d.]+ \[\d+\]\s+(\S.*?)\[\d+(?:/\d+)?\]\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)"
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


def per_step(turns: Iterable[Turn], trace: Trace) -> list[Comparison]:
    """Sums over all steps of the subject against the kernel's own accounting of its thread."""
    steps = {step.id: step for step in trace.steps if step.comm == "at-subject"}
    pairs = [(turn, steps[turn.id]) for turn in turns if turn.id in steps]
    waited = [(turn.delay_ns, total(step, OFF_CPU_RUNNABLE)) for turn, step in pairs]
    ran = [(turn.cpu_ns, total(step, ON_CPU)) for turn, step in pairs]
    return [
        _sums("runnable, not running", "/proc/PID/schedstat", waited),
        _sums("on the CPU", "CLOCK_THREAD_CPUTIME_ID", ran),
    ]


def total(step: Step, buckets: Iterable[Bucket]) -> int:
    return sum(step.ns(bucket) for bucket in buckets)


def _sums(what: str, witness: str, pairs: list[tuple[int, int]]) -> Comparison:
    theirs, ours = (sum(pair[side] for pair in pairs) for side in (0, 1))
    return Comparison(what, witness, ours, theirs, len(pairs))


@contextlib.contextmanager
def perf_sched() -> Iterator[list[tuple[str, int]]]:
    """Yields a list that leaving fills with each switch-in's comm and delay since waking, in ns."""
    assert shutil.which("perf"), "this needs perf (Debian: linux-perf)"
    delays: list[tuple[str, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        record = ["perf", "sched", "record", "-m", "4M", "-o", str(data)]
        with subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as perf:
            try:
                _await_file(data)
                yield delays
            finally:
                perf.send_signal(signal.SIGINT)
                perf.communicate(timeout=60)
        delays.extend(_timehist(data))


def _await_file(path: Path) -> None:
    """perf opens its events, then writes the file's header."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, "perf sched record does not start"
        time.sleep(0.05)
    time.sleep(0.5)


def _timehist(data: Path) -> Iterator[tuple[str, int]]:
    shown = subprocess.run(
        ["perf", "sched", "timehist", "-i", str(data)], capture_output=True, text=True, check=True
    )
    for line in shown.stdout.splitlines():
        if found := _TIMEHIST.match(line):
            yield found[1], round(float(found[3]) * 1e6)


def against_perf(delays: Iterable[tuple[str, int]], comm: str, trace: Trace) -> list[Comparison]:
    """Count and quantiles of waking → running. perf shows whole us, and 0 where none woke."""
    theirs = sorted(ns for name, ns in delays if name == comm and ns > 0)
    leg = next(leg.histogram for leg in trace.legs if leg.leg == "wakeup to run")
    found = [Comparison("wakings", "perf sched", leg.count, len(theirs), len(theirs))]
    for q in QUANTILES:
        ours = leg.quantile(q)
        rank = min(len(theirs) - 1, int(q * len(theirs)))
        if ours is not None and theirs:
            what = f"waking to running, p{100 * q:g}"
            found.append(Comparison(what, "perf sched", ours.value, theirs[rank], leg.count))
    return found
