# SPDX-License-Identifier: GPL-2.0-only
"""The demo, as vm/demo runs it in the guest: tune, compare, revert, audit, explain."""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.lab.machine import AGENT_NIC, FLOOD_NIC
from vm.scene.audit import differences, snapshot
from vm.scene.calls import Summary, summarize
from vm.scene.processes import SceneError, start, stop
from vm.scene.scene import Cast, Scene, playing

TREE = Path(__file__).resolve().parents[2]
PROFILE = "profiles/agent-latency.yaml"
AGENT_CPU = 1
BLOCK_SECONDS = 6.0
MEASURE_SECONDS = 5.0
# Long enough for the loop to settle after interrupts moved.
SETTLE_SECONDS = 1.0
ROUNDS = 3
RECORD = "/tmp/steps.trace"
STEPS_SECONDS = 12.0
HOG_EVERY_SECONDS = 4.0
HOG_SECONDS = 0.2


class DemoError(Exception):
    """What the demo shows did not happen."""


@dataclass(frozen=True)
class Pair:
    """The same loop for the same time, interrupts where they were and moved away."""

    before: Summary
    after: Summary


def main() -> int:
    cast = Cast(agent_cpu=AGENT_CPU, interrupts_cpu=AGENT_CPU, seconds=1500.0)
    try:
        with playing(cast) as scene:
            play(scene)
    except (DemoError, SceneError) as error:
        print(f"\ndemo: FAILED: {error}")
        return 1
    return 0


def play(scene: Scene) -> None:
    say("The scene")
    print(
        f"An agent (comm 'agent', pid {scene.agent.pid}) calls its tool over NIC A ({AGENT_NIC}),\n"
        f"1 KiB there and back, one call after the other, on CPU {AGENT_CPU}.\n"
        f"A flood arrives at NIC B ({FLOOD_NIC}). Both NICs interrupt CPU {AGENT_CPU}."
    )
    untouched = snapshot(scene.agent.pid)
    pairs = [first_round(scene, untouched)]
    plan = Path("/tmp/plan.json")
    plan.write_text(agenttune("plan", PROFILE, "--json", quiet=True))
    for number in range(2, ROUNDS + 1):
        say(f"Round {number} of {ROUNDS}: the same plan, applied and reverted again")
        pairs.append(later_round(scene, plan, untouched))
    say("The agent's round trips, in pairs of equal blocks")
    print(comparison(pairs), end="")
    audit(scene, untouched)
    explain_one_step(scene)


def first_round(scene: Scene, untouched: Mapping[str, str]) -> Pair:
    say(f"Round 1 of {ROUNDS}: tune")
    before = block(scene, "before")
    agenttune("tune", PROFILE, "--seconds", str(MEASURE_SECONDS))
    after = block(scene, "after")
    agenttune("status")
    agenttune("revert")
    audit(scene, untouched)
    return Pair(before, after)


def later_round(scene: Scene, plan: Path, untouched: Mapping[str, str]) -> Pair:
    before = block(scene, "before")
    agenttune("apply", str(plan), quiet=True)
    after = block(scene, "after")
    agenttune("revert", quiet=True)
    if differences(untouched, snapshot(scene.agent.pid)):
        raise DemoError("revert did not restore every file")
    return Pair(before, after)


def block(scene: Scene, name: str) -> Summary:
    time.sleep(SETTLE_SECONDS)
    print(f"  the agent's loop for {BLOCK_SECONDS:g} s, {name}: ", end="", flush=True)
    found = summarize([call.round_trip_ns for call in scene.block(BLOCK_SECONDS)])
    print(found or "no call came back", flush=True)
    if found is None:
        raise DemoError(f"the agent finished no call in {BLOCK_SECONDS:g} s")
    return found


def explain_one_step(scene: Scene) -> None:
    """A stall that the demo injects, found and named by `agenttune explain`."""
    say("One slow step, explained")
    if scene.flood is not None:
        stop(scene.flood)
    print(
        f"The flood is over. Each call is a step, marked by the agent itself. Every"
        f" {HOG_EVERY_SECONDS:g} s another\nprocess ('hog', SCHED_FIFO) takes CPU {AGENT_CPU}"
        f" for {HOG_SECONDS * 1e3:.0f} ms while agenttune records."
    )
    hog_options = ("--cpu", AGENT_CPU, "--every", HOG_EVERY_SECONDS, "--seconds", HOG_SECONDS)
    hog = start("vm.scene.hog", *hog_options)
    try:
        window = ("--agent", "comm:agent", "--seconds", str(STEPS_SECONDS))
        agenttune("steps", *window, "--save", RECORD)
    finally:
        stop(hog)
    explained = agenttune("explain", RECORD, "--slowest", "1")
    if "hog" not in explained:
        raise DemoError("the explanation does not name the hog")


def comparison(pairs: Sequence[Pair]) -> str:
    """A table of the pairs, with the median of their ratios."""
    quantiles: dict[str, Callable[[Summary], int]] = {
        "p50": lambda s: s.p50_ns,
        "p90": lambda s: s.p90_ns,
        "p99": lambda s: s.p99_ns,
    }
    lines = ["  quantile   before → after, ms, per pair                            median ratio\n"]
    for name, pick in quantiles.items():
        shown = [f"{pick(p.before) / 1e6:.2f} → {pick(p.after) / 1e6:.2f}" for p in pairs]
        ratio = statistics.median(pick(p.before) / pick(p.after) for p in pairs)
        lines.append(
            f"  {name}        {'    '.join(f'{text:<15}' for text in shown)}   {ratio:.2f}x\n"
        )
    calls = ", ".join(f"{p.before.count} and {p.after.count}" for p in pairs)
    lines.append(f"  calls per pair: {calls}\n")
    lines.append("  Emulated CPUs: read the ratios, not the milliseconds.\n")
    return "".join(lines)


def audit(scene: Scene, untouched: Mapping[str, str]) -> None:
    say("The audit, by reading every file that agenttune may write")
    changed = differences(untouched, snapshot(scene.agent.pid))
    if changed:
        raise DemoError("these files do not read as before:\n" + "\n".join(changed))
    print(f"  {len(untouched)} files and thread masks: every one reads as before.")


def agenttune(*words: str, quiet: bool = False) -> str:
    """Run one verb, show it as a user would type it; its output."""
    if not quiet:
        print(f"\n$ agenttune {shlex.join(words)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "agenttune", *words],
        cwd=TREE,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if not quiet:
        print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        raise DemoError(f"agenttune {words[0]} exited with {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
