#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What measuring costs: a pipe round trip with and without it, start-up, memory.

Usage, as root, from the project's folder: python tests/bench/bench_measure.py [ROUNDS]
The rounds of all rows are interleaved. Prints a table for RESULTS.md; exits 1 over a limit.
BCC_KERNEL_SOURCE, a kernel source folder that bcc accepts, adds the bcc engine, and runqlat of bcc
for comparison.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
CPU = "1"
LOOPS = 100_000
MAX_ADDED_US = {"measure, bench no agent": 0.6, "measure, bench the agent": 1.0}
MAX_ATTACH_S = 0.3
MAX_RSS_MIB = 60

_MEASURE = """
import sys
from pathlib import Path
from agenttune.host.capture import read_host
from agenttune.host.selector import Selector
from agenttune.measure.session import Session
host = read_host(Path("/"))
with Session([Selector.parse(sys.argv[1])], host, sys.argv[2]) as session:
    print("attached", flush=True)
    sys.stdin.read()
    session.stop()
    print(sum(load.switches_in for load in session.read().agents))
"""

_ATTACH = """
import time
from pathlib import Path
from agenttune.host.selector import Selector
begin = time.monotonic()
from agenttune.measure.session import Session
with Session([Selector.parse("comm:agent")]) as session:
    while not session.read().arch_interrupts:
        pass
    print(time.monotonic() - begin)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def beside(command: list[str], ready: str) -> Iterator[subprocess.Popen[str]]:
    """A process that measures until its input ends, or until it is told to stop."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    while ready not in (line := process.stdout.readline()):
        if not line:
            raise SystemExit(f"{command[0]} ended before it was ready")
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if "runqlat" in command[0]:
            process.terminate()
        process.wait()


def measuring(
    selector: str, engine: str = "libbpf"
) -> AbstractContextManager[subprocess.Popen[str]]:
    return beside([sys.executable, "-c", _MEASURE, selector, engine], "attached")


def runqlat() -> AbstractContextManager[subprocess.Popen[str]]:
    return beside(["runqlat-bpfcc", "3600", "1"], "Tracing")


def pipe_us(*prefix: str) -> tuple[float, float]:
    """Wall and CPU time of one round trip between two processes on one CPU.

    `prefix`: a command that becomes the benchmark.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["taskset", "-c", CPU, "perf", "bench", "-f", "simple", "sched", "pipe"]
    run = subprocess.run(
        [*prefix, *command, "-l", str(LOOPS)], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(run.stdout.split()[-1]) / LOOPS * 1e6, cpu_s / LOOPS * 1e6


def kinds() -> dict[str, AbstractContextManager[object]]:
    found: dict[str, AbstractContextManager[object]] = {
        "bare": contextlib.nullcontext(),
        "measure, bench no agent": measuring("comm:at-nobody"),
        "measure, bench the agent": measuring("comm:sched-pipe"),
    }
    if "BCC_KERNEL_SOURCE" in os.environ:
        found["engine bcc, bench no agent"] = measuring("comm:at-nobody", "bcc")
        found["engine bcc, bench the agent"] = measuring("comm:sched-pipe", "bcc")
        if shutil.which("runqlat-bpfcc"):
            found["bcc runqlat"] = runqlat()
    return found


def attach_seconds() -> float:
    run = subprocess.run(
        [sys.executable, "-c", _ATTACH],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return float(run.stdout)


def command_cost() -> tuple[float, float]:
    """Peak memory in MiB of `agenttune measure`, and its wall time beyond the window."""
    command = [sys.executable, "-m", "agenttune", "measure", "--seconds", "1", "--json"]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(), cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("agenttune measure failed")
    return usage.ru_maxrss / 1024, time.monotonic() - begin - 1


def main(rounds: int) -> int:
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, kind in kinds().items():
            with kind:
                times.setdefault(name, []).append(pipe_us())
    failed = False
    print("| beside the bench | wall us/op | added | CPU us/op | added | limit |")
    print("|---|---|---|---|---|---|")
    bare_wall, bare_cpu = (median(column) for column in zip(*times["bare"], strict=True))
    for name, pairs in times.items():
        wall, cpu = (median(column) for column in zip(*pairs, strict=True))
        limit = MAX_ADDED_US.get(name)
        added = f"{wall - bare_wall:+.2f} | {cpu:.2f} | {cpu - bare_cpu:+.2f}"
        print(f"| {name} | {wall:.2f} | {added} | {'' if limit is None else limit} |")
        failed |= limit is not None and cpu - bare_cpu > limit
    if "bcc runqlat" not in times:
        print("\nbcc runqlat: not run; BCC_KERNEL_SOURCE is not set, or it is not installed.")
    attach = median(attach_seconds() for _ in range(5))
    memory, beyond = command_cost()
    print("\n| start-up | measured | limit |\n|---|---|---|")
    print(f"| attach to first sample | {attach:.3f} s | {MAX_ATTACH_S} s |")
    print(f"| peak memory of `agenttune measure` | {memory:.1f} MiB | {MAX_RSS_MIB} MiB |")
    print(f"| `agenttune measure` beyond its window | {beyond:.2f} s | |")
    return int(failed or attach > MAX_ATTACH_S or memory > MAX_RSS_MIB)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
