# SPDX-License-Identifier: GPL-2.0-only
"""The demo's last section: the kernel module through a profile, and gone again."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.lab.errors import LabError
from vm.lab.machine import AGENT_NIC
from vm.lab.module import NAME
from vm.scene import interfaces
from vm.scene.audit import snapshot
from vm.scene.build import install_build
from vm.scene.demo import AGENT_CPU, DemoError, agenttune, audit, say
from vm.scene.processes import SceneError
from vm.scene.scene import Cast, Scene, playing
from vm.scene.softnet import softnet

PROFILE = "profiles/agent-latency-module.yaml"
WATCH = """\
description: Count what net_rx_action does on the agent's CPU, bounding nothing in effect
include: agent-latency-module
module: {napi-budget: 65535, softirq-budget-us: 0}
"""
DEBUGFS = Path("/sys/kernel/debug") / NAME
TRACING = Path("/sys/kernel/tracing")
# What must not be there after the unload.
TRACES = ("/sys/module", "/dev", "/proc/sys/kernel", "/sys/kernel/debug",
          "/sys/kernel/tracing/events")  # fmt: skip
BUDGET = 16
FLOOD_SECONDS = 6.0
# Bursts of 32 packets, and time for the rest of a guest whose CPUs share one thread.
FLOOD_PAUSE_US = 4000
ATTACH_SECONDS = "5"
_EVENT = re.compile(r"agent_(?P<kind>irq_stage|step_begin|step_end): (?P<words>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Rounds:
    """net_rx_action on the agent's CPU in a while: how many, packets, the largest, and squeezes."""

    actions: int
    packets: int
    largest: int
    squeezes: int
    seconds: float

    def __str__(self) -> str:
        mean = self.packets / self.actions if self.actions else 0.0
        return (
            f"{self.actions} net_rx_actions in {self.seconds:.1f} s, {self.packets} packets: "
            f"{mean:.1f} each, {self.largest} at most; time_squeeze +{self.squeezes}"
        )


def main() -> int:
    cast = Cast(
        agent_cpu=AGENT_CPU, interrupts_cpu=AGENT_CPU, seconds=600.0, pause_us=FLOOD_PAUSE_US
    )
    try:
        install_build("6.12")
        with playing(cast) as scene:
            play(scene)
    except (DemoError, SceneError, LabError) as error:
        print(f"\ndemo: FAILED: {error}")
        return 1
    return 0


def play(scene: Scene) -> None:
    say("The kernel module, loaded through a profile")
    print(
        f"The same scene: agent, flood and both NICs' interrupts on CPU {AGENT_CPU}. The module\n"
        f"was built outside of this guest. At first its bound is so wide that it only counts."
    )
    untouched = snapshot(scene.agent.pid)
    watch = Path("/tmp/watch.yaml")
    watch.write_text(WATCH)
    agenttune("apply", str(watch))
    one_step()
    guardrail()
    agenttune("module", "status")
    say("Revert: the settings newest first, then the unload")
    agenttune("revert")
    audit_module()
    audit(scene, untouched)


def one_step() -> None:
    say("One step, attributed by the module")
    (TRACING / "trace").write_text("")
    enable = TRACING / f"events/{NAME}/enable"
    enable.write_text("1")
    try:
        agenttune("module", "attach", "comm:agent", "--seconds", ATTACH_SECONDS)
    finally:
        enable.write_text("0")
    wanted = [irq for irq, name in interfaces.vectors(AGENT_NIC).items() if "input" in name]
    lines = whole_step((TRACING / "trace").read_text(), wanted)
    if not lines:
        raise DemoError(f"no step shows a completion by irq {wanted} of the agent's NIC")
    print(f"\none step's events (irq {wanted[0]} is NIC A's receive vector, softirq 3 is NET_RX):")
    print("".join(f"  {line}\n" for line in lines), end="")


def whole_step(trace: str, irqs: Sequence[int]) -> list[str]:
    """The events of the first step that begins, completes by one of `irqs`, and ends."""
    by_step: dict[str, list[re.Match[str]]] = {}
    for event in _EVENT.finditer(trace):
        by_step.setdefault(words(event["words"])["step_id"], []).append(event)
    for events in by_step.values():
        kinds = [event["kind"] for event in events]
        stages = [words(e["words"]) for e in events if e["kind"] == "irq_stage"]
        completed = any(
            stage["stage"] in ("completion", "running") and int(stage["irq"]) in irqs
            for stage in stages
        )
        if kinds[0] == "step_begin" and kinds[-1] == "step_end" and completed:
            return [f"agent_{event['kind']}: {event['words']}" for event in events]
    return []


def words(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def guardrail() -> None:
    say(f"The guardrail under the flood: at most {BUDGET} packets in one net_rx_action")
    before = rounds()
    print(f"  CPU {AGENT_CPU}, not bounded: {before}", flush=True)
    agenttune("apply", PROFILE)
    after = rounds()
    print(f"\n  CPU {AGENT_CPU}, not bounded: {before}\n  CPU {AGENT_CPU}, bounded:     {after}")
    if not after.actions or after.largest > BUDGET:
        raise DemoError(f"net_rx_action took {after.largest} packets with a bound of {BUDGET}")
    if before.largest <= BUDGET:
        raise DemoError("the flood never exceeded the bound, so nothing is shown")


def rounds() -> Rounds:
    """A while of the flood on the agent's CPU; the module counts from when the bound was set."""
    begin, first, squeezed = time.monotonic(), tally(), softnet()[AGENT_CPU].squeezed
    time.sleep(FLOOD_SECONDS)
    last = tally()
    return Rounds(
        actions=int(last.get("actions", 0)) - int(first.get("actions", 0)),
        packets=int(last.get("packets", 0)) - int(first.get("packets", 0)),
        largest=int(last.get("largest", 0)),
        squeezes=softnet()[AGENT_CPU].squeezed - squeezed,
        seconds=time.monotonic() - begin,
    )


def tally() -> Mapping[str, str]:
    try:
        lines = map(words, (DEBUGFS / "guardrail").read_text().splitlines())
    except OSError as error:
        raise DemoError(f"the module tells nothing of its bounds: {error}") from error
    mine = (
        line for line in lines if line.get("cpu") == str(AGENT_CPU) and line.get("kind") == "agent"
    )
    return next(mine, {})


def audit_module() -> None:
    listed = subprocess.run(["lsmod"], capture_output=True, text=True, check=True).stdout
    left = [f"{folder}/{NAME}" for folder in TRACES if (Path(folder) / NAME).exists()]
    if NAME in listed or left:
        raise DemoError(f"the module is not gone: {', '.join(left) or 'lsmod still lists it'}")
    print(f"\n  gone: {', '.join(f'{folder}/{NAME}' for folder in TRACES)}, and from lsmod")


if __name__ == "__main__":
    sys.exit(main())
