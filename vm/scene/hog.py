# SPDX-License-Identifier: GPL-2.0-only
"""The hog: a real-time process that takes one CPU once, for a known time."""

from __future__ import annotations

import argparse
import os
import time

from vm.scene.processes import become, say_ready

PRIORITY = 50
MAX_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", type=int, required=True)
    parser.add_argument("--after", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    values = parser.parse_args()
    become("hog", values.cpu)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    say_ready()
    time.sleep(values.after)
    began_ns = time.monotonic_ns()
    until_ns = began_ns + round(min(values.seconds, MAX_SECONDS) * 1e9)
    while time.monotonic_ns() < until_ns:
        pass
    held_ns = time.monotonic_ns() - began_ns
    # To end takes a Python process long; that time is not part of the stall.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    print(held_ns, flush=True)


if __name__ == "__main__":
    main()
