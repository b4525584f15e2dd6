#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What recording steps costs: a pipe round trip, the recorder itself, records lost under load.

Usage, as root, from the project's folder: python tests/bench/bench_steps.py [ROUNDS]
The rounds of all rows are interleaved. Prints tables for RESULTS.md; exits 1 over a limit.
BCC_KERNEL_SOURCE, a kernel source folder that bcc accepts, adds bcc's tools for comparison.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from bench_measure import ROOT, beside, environment, pipe_us

AGENT = "comm:sched-pipe"
IN_STEP = "steps, bench the agent, one side in a step"
MAX_ADDED_US = {"steps, bench no agent": 0.6, "steps, bench the agent": 1.2, IN_STEP: 1.2}
MAX_RSS_MIB = 60
MAX_CPU_PCT = 2.0
WINDOW_S = 10.0

_RECORD = """
import sys, threading
from agenttune.host.selector import Selector
from agenttune.measure.steps_session import StepsSession
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with StepsSession([Selector.parse(sys.argv[1])], syscalls="--syscalls" in sys.argv) as session:
    print("attached", flush=True)
    while not ended.wait(0.1):
        session.take()
"""

# A thread that sleeps and wakes about ten thousand times a second, each time in a step.
_SLEEPER = """
import ctypes, sys, time
from agenttune import step
libc = ctypes.CDLL(None)
libc.prctl(15, b"at-sleeper")
libc.prctl(29, 1)  # PR_SET_TIMERSLACK
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    with step("nap", kind="tool"):
        time.sleep(75e-6)
"""

# Steps as fast as they can be marked.
_MARKER = """
import ctypes, sys, time
from agenttune import step
ctypes.CDLL(None).prctl(15, b"at-marker")
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    with step("nothing"):
        pass
"""


# Becomes its command in the middle of a step that never ends.
_IN_STEP = """
#include <unistd.h>
#include "agenttune.h"
int main(int argc, char **argv)
{
	(void)argc;
	agenttune_begin(1, AGENTTUNE_TOOL, "bench", 0, 0);
	execvp(argv[1], argv + 1);
	return 127;
}
"""


def build_in_step(folder: Path) -> str:
    source, target = folder / "in_step.c", folder / "in_step"
    source.write_text(_IN_STEP)
    include = ROOT / "agenttune/include"
    subprocess.run(["cc", "-O2", "-I", str(include), "-o", str(target), str(source)], check=True)
    return str(target)


def recording(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return beside([sys.executable, "-c", _RECORD, *arguments], "attached")


@contextlib.contextmanager
def bcc_tools() -> Iterator[None]:
    """runqlat, softirqs and hardirqs at once: about what they would tell together."""
    with contextlib.ExitStack() as stack:
        for tool in ("runqlat-bpfcc", "softirqs-bpfcc", "hardirqs-bpfcc"):
            stack.enter_context(quietly(tool))
        yield


@contextlib.contextmanager
def quietly(tool: str) -> Iterator[None]:
    process = subprocess.Popen([tool, "3600", "1"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        time.sleep(1.0)
        yield
    finally:
        process.terminate()
        process.wait()


def kinds() -> dict[str, AbstractContextManager[object]]:
    found: dict[str, AbstractContextManager[object]] = {
        "bare": contextlib.nullcontext(),
        "steps, bench no agent": recording("comm:at-nobody"),
        "steps, bench the agent": recording(AGENT),
        IN_STEP: recording(AGENT),
        "steps --syscalls, bench the agent": recording(AGENT, "--syscalls"),
    }
    if shutil.which("runqlat-bpfcc") and "BCC_KERNEL_SOURCE" in os.environ:
        found["bcc runqlat, softirqs, hardirqs"] = bcc_tools()
    return found


def round_trips(rounds: int) -> bool:
    """Prints the table of added cost; whether a limit was missed."""
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        in_step = build_in_step(Path(folder))
        for _ in range(rounds):
            for name, kind in kinds().items():
                with kind:
                    times.setdefault(name, []).append(pipe_us(*[in_step] * (name == IN_STEP)))
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
    return failed


def context_switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def beside_load(load: str, comm: str, *options: str) -> tuple[dict[str, object], float, float, int]:
    """`agenttune steps` beside a load: its document, CPU share, peak MiB; the load's sleeps."""
    command = [sys.executable, "-c", load, str(WINDOW_S + 4)]
    with subprocess.Popen(command, env=environment()) as process:
        time.sleep(1.0)
        slept, began = context_switches(process.pid), time.monotonic()
        verb = [sys.executable, "-m", "agenttune", "steps", "--agent", f"comm:{comm}"]
        verb += ["--seconds", str(WINDOW_S), "--json", *options]
        with tempfile.TemporaryFile() as output:
            steps = subprocess.Popen(verb, stdout=output, env=environment(), cwd=ROOT)
            _, status, usage = os.wait4(steps.pid, 0)
            steps.returncode = os.waitstatus_to_exitcode(status)
            slept = round((context_switches(process.pid) - slept) / (time.monotonic() - began))
            process.terminate()
            if steps.returncode:
                raise SystemExit("agenttune steps failed")
            output.seek(0)
            trace = json.load(output)["steps"]
    cpu_pct = (usage.ru_utime + usage.ru_stime) / WINDOW_S * 100
    return trace, cpu_pct, usage.ru_maxrss / 1024, slept


def idle_cpu_pct() -> float:
    """What the verb costs on top of its window: start, attach, report; as a share of the window."""
    verb = [sys.executable, "-m", "agenttune", "steps", "--agent", "comm:at-nobody"]
    process = subprocess.Popen(
        [*verb, "--seconds", "0.2", "--json"],
        stdout=subprocess.DEVNULL,
        env=environment(),
        cwd=ROOT,
    )
    _, _, usage = os.wait4(process.pid, 0)
    return (usage.ru_utime + usage.ru_stime) / WINDOW_S * 100


def recorder() -> bool:
    """Prints the recorder's own cost and what it lost; whether a limit was missed."""
    idle_pct = median(idle_cpu_pct() for _ in range(3))
    trace, cpu_pct, memory_mib, rate = beside_load(_SLEEPER, "at-sleeper")
    coverage = trace["coverage"]
    assert isinstance(coverage, dict)
    resident_pct = cpu_pct - idle_pct
    print("\n| `agenttune steps` beside a thread that sleeps in steps | measured | limit |")
    print("|---|---|---|")
    print(f"| wakeups of the thread | {rate} /s | |")
    print(f"| steps that ended, records lost | {coverage['ended']}, {coverage['lost_records']} | |")
    print(f"| CPU while it records | {resident_pct:.1f} % of one | {MAX_CPU_PCT} |")
    print(f"| peak memory | {memory_mib:.1f} MiB | {MAX_RSS_MIB} |")
    with tempfile.TemporaryDirectory() as folder:
        saved, cpu_pct, _, _ = beside_load(
            _MARKER, "at-marker", "--save", str(Path(folder) / "trace")
        )
    lost = saved["coverage"]
    assert isinstance(lost, dict)
    print("\n| every step saved, a thread that does nothing but mark | measured |")
    print("|---|---|")
    print(f"| steps | {lost['ended'] / WINDOW_S:.0f} /s |")
    print(f"| records kept, counted as lost | {lost['kept']}, {lost['lost_records']} |")
    return resident_pct > MAX_CPU_PCT or memory_mib > MAX_RSS_MIB


def main(rounds: int) -> int:
    failed = round_trips(rounds)
    return int(recorder() or failed)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
