# SPDX-License-Identifier: GPL-2.0-only
"""The hog: a real-time process that takes one CPU now and then, for a known time."""

from __future__ import annotations

import argparse
import os
import time

from vm.scene.processes import become, say_ready

PRIORITY = 50
MAX_SECONDS = 0.5
MAX_TIMES = 20


def hold(seconds: float) -> None:
    """Real-time for so long, and no longer: what else this process does is not the stall."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    until_ns = time.monotonic_ns() + round(min(seconds, MAX_SECONDS) * 1e9)
    while time.monotonic_ns() < until_ns:
        pass
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", type=int, required=True)
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    values = parser.parse_args()
    become("hog", values.cpu)
    say_ready()
    for _ in range(MAX_TIMES):
        time.sleep(values.every)
        hold(values.seconds)


if __name__ == "__main__":
    main()
