# SPDX-License-Identifier: GPL-2.0-only
"""The built-in agent: one step after the other, each marked, and timed by its own clock."""

from __future__ import annotations

import argparse
import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from agenttune.evaluate.agent_parts import actions
from agenttune.evaluate.processes import become, say_ready
from agenttune.evaluate.step_log import StepLog
from agenttune.evaluate.workload import Part, Workload
from agenttune.host.cpumask import CpuMask
from agenttune.steps import step

COMM = "agent"
_BITS = {part: 1 << place for place, part in enumerate(Part)}


def run(workload: Workload, log: StepLog, seconds: float) -> None:
    """Steps until `seconds` are over."""
    draw = random.Random(workload.seed)
    with ExitStack() as stack:
        does = actions(workload, draw, stack)
        say_ready()
        end_ns = time.monotonic_ns() + round(seconds * 1e9)
        next_ns = time.monotonic_ns()
        pause_ns = round(1e9 / workload.rate) if workload.rate else 0
        while time.monotonic_ns() < end_ns:
            chosen = [part for part, share in workload.parts.items() if draw.random() < share]
            begin_ns = time.monotonic_ns()
            with step(workload.mix, kind="tool") as mark:
                for part in chosen:
                    does[part](mark.id)
                if share := log.delay_share:
                    _spin(begin_ns, share)
            log.append(mark.id, sum(_BITS[part] for part in chosen), begin_ns, time.monotonic_ns())
            if pause_ns:
                next_ns = _pace(next_ns + pause_ns)


def _pace(next_ns: int) -> int:
    """Sleep until then; an agent that is late does not catch up by a burst."""
    now_ns = time.monotonic_ns()
    if next_ns <= now_ns:
        return now_ns
    time.sleep((next_ns - now_ns) / 1e9)
    return next_ns


def _spin(begin_ns: int, share: float) -> None:
    end_ns = time.monotonic_ns()
    end_ns += round((end_ns - begin_ns) * share)
    while time.monotonic_ns() < end_ns:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m agenttune.evaluate.agent")
    parser.add_argument("workload", help="as JSON")
    parser.add_argument("log", type=Path)
    parser.add_argument("seconds", type=float)
    values = parser.parse_args()
    become(COMM)
    workload = msgspec.json.decode(values.workload, type=Workload)
    if workload.cpus:
        os.sched_setaffinity(0, set(CpuMask.parse_list(workload.cpus)))
    run(workload, StepLog(values.log), values.seconds)


if __name__ == "__main__":
    main()
