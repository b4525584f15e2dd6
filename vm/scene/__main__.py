# SPDX-License-Identifier: GPL-2.0-only
"""Command line of the scene, for use inside a guest: python3 -m vm.scene run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vm.lab.machine import AGENT_NIC, FLOOD_NIC
from vm.scene import interfaces
from vm.scene.calls import summarize
from vm.scene.processes import SceneError
from vm.scene.scene import Cast, playing


def main() -> int:
    """Plays the scene for a while, prints where interrupts went, and the round trips."""
    parser = argparse.ArgumentParser(prog="python3 -m vm.scene")
    verbs = parser.add_subparsers(required=True)
    run = verbs.add_parser("run", help="play the scene and print the agent's round trips")
    run.add_argument("--seconds", type=float, default=20.0)
    run.add_argument("--calls", type=int, default=Cast.calls, help="stop after so many")
    run.add_argument("--interrupts-cpu", type=int, default=Cast.interrupts_cpu)
    run.add_argument("--no-flood", action="store_true")
    run.add_argument("--pause-us", type=int, default=0, help="the flood's rest between bursts")
    run.add_argument("--save", type=Path, metavar="FILE", help="every round trip, as JSON")
    values = parser.parse_args()
    try:
        return play(values)
    except SceneError as error:
        print(f"scene: {error}", file=sys.stderr)
        return 1


def play(values: argparse.Namespace) -> int:
    """One scene as asked for on the command line."""
    cast = Cast(
        interrupts_cpu=values.interrupts_cpu,
        flooded=not values.no_flood,
        seconds=values.seconds + 30.0,
        calls=values.calls,
        pause_us=values.pause_us,
    )
    with playing(cast) as scene:
        before = _counts()
        calls = scene.block(values.seconds)
        after = _counts()
    for irq, (name, counted) in after.items():
        moved = [now - then for now, then in zip(counted, before[irq][1], strict=True)]
        if any(moved):
            print(f"irq {irq} {name}: {moved} per CPU")
    round_trips = [call.round_trip_ns for call in calls]
    print(f"round trips: {summarize(round_trips) or 'none'}")
    if values.save:
        saved = [[call.started_ns, call.round_trip_ns] for call in calls]
        values.save.write_text(json.dumps({"started_ns,round_trip_ns": saved}) + "\n")
    return 0 if calls else 1


def _counts() -> dict[int, tuple[str, list[int]]]:
    named = {
        irq: name
        for address in (AGENT_NIC, FLOOD_NIC)
        for irq, name in interfaces.vectors(address).items()
    }
    return {irq: (name, interfaces.counts(irq)) for irq, name in named.items()}


if __name__ == "__main__":
    sys.exit(main())
