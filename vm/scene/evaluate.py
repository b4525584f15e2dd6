# SPDX-License-Identifier: GPL-2.0-only
"""`agenttune evaluate` in the guest, on the scene of the demo: its tool, its flood, real MSI-X."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.lab.errors import LabError
from vm.lab.machine import AGENT_NIC, FLOOD_NIC, NVME_DISK, SOURCE_NIC, TOOL_NIC
from vm.scene import interfaces
from vm.scene.build import install_build
from vm.scene.processes import SceneError, start, stop
from vm.scene.scene import TOOL_ADDRESS, TOOL_NAMESPACE, Cast, flooding, networked

TREE = Path(__file__).resolve().parents[2]
PROFILE = "vm/scene/evaluation.yaml"
PORT = 7801
TOOL_CPU = 2
LONGEST_SECONDS = 5000.0


@dataclass(frozen=True)
class Size:
    """How much is compared. `arms` empty: all that apply."""

    arms: str
    rounds: int
    seconds: int


QUICK = Size("tuned,affinity,pinning,budget,guardrail,irqbalance", 7, 5)
FULL = Size("", 12, 10)
# 32 packets each 10 ms, each of them a lot of work, as behind a firewall: CPU 1 has its hands full
# of softirq, and NAPI rests between the bursts. Unpaused (42,000 packets a second) the flood fills
# the emulator's one I/O thread, which carries the agent's packets too: then an arm is fast because
# it slows the flood. With 400 dissections NAPI never rests, and its vector never moves.
CAST = Cast(seconds=LONGEST_SECONDS, packets=10**10, pause_us=10_000, dissections=175)
# Emulated and under the flood, a block has some hundred steps of this size: enough for p90.
WORK = (
    *("--mix", "lookup", "--rate", "max"),
    *("--rpc-bytes", "1024-1024", "--read-bytes", "4096-4096"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m vm.scene.evaluate")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("rest", nargs="*", help="more options of 'agenttune evaluate'")
    values = parser.parse_args()
    install_module()
    try:
        with ExitStack() as stack:
            stack.enter_context(networked())
            stack.enter_context(interfaces.placed([AGENT_NIC, FLOOD_NIC], CAST.interrupts_cpu))
            stack.enter_context(interfaces.placed([TOOL_NIC], TOOL_CPU))
            stack.enter_context(interfaces.placed([SOURCE_NIC], CAST.source_cpu))
            stack.enter_context(tool_server())
            warm_up()
            stack.enter_context(flooding(CAST))
            return evaluate(QUICK if values.quick else FULL, values.rest)
    except SceneError as error:
        print(f"scene: {error}", file=sys.stderr)
        return 1


def evaluate(size: Size, rest: Sequence[str]) -> int:
    out = os.environ.get("AGENTTUNE_OUT", "/tmp/evaluation")
    words = command(size, disk(), out, rest)
    return subprocess.run(words, cwd=TREE, env=environment(), check=False).returncode


def command(size: Size, data: str, out: str, rest: Sequence[str]) -> list[str]:
    """`rest` comes last, so that it wins."""
    return [
        *(sys.executable, "-m", "agenttune", "evaluate", PROFILE),
        *("--blocks", str(size.rounds), "--seconds", str(size.seconds), "--settle", "0.5"),
        *(("--arms", size.arms) if size.arms else ()),
        *("--tool", f"{TOOL_ADDRESS}:{PORT}", "--data", data, *WORK),
        *("--out", out, *rest),
    ]


def warm_up() -> None:
    """Have the programs in the guest's memory before the flood: under it that takes minutes."""
    for words in (("agenttune", "show"), ("agenttune.evaluate.agent", "--help")):
        subprocess.run(
            [sys.executable, "-m", *words], cwd=TREE, stdout=subprocess.DEVNULL, check=False
        )


def environment() -> dict[str, str]:
    """With the lab's irqbalance on the path, which is not installed anywhere."""
    cache = os.environ.get("AGENTTUNE_CACHE", "/var/cache/agenttune")
    return {**os.environ, "PATH": f"{os.environ['PATH']}:{cache}/irqbalance"}


def disk() -> str:
    """The empty NVMe disk, which is only read."""
    (controller,) = Path(f"/sys/bus/pci/devices/{NVME_DISK}/nvme").iterdir()
    # Not by its folder: with multipath that holds a hidden node, nvme0c0n1.
    return f"/dev/{controller.name}n1"


def install_module() -> None:
    """It is one arm of several: the others are compared without it."""
    try:
        install_build("6.12")
    except LabError as error:
        print(f"no kernel module, so no arm 'guardrail': {error}", flush=True)


@contextmanager
def tool_server() -> Iterator[None]:
    """The evaluation's tool, behind the tool server's NIC."""
    listen = ("--listen", f"{TOOL_ADDRESS}:{PORT}")
    process = start("agenttune.evaluate.toolserver", *listen, namespace=TOOL_NAMESPACE)
    try:
        os.sched_setaffinity(process.pid, {TOOL_CPU})
        yield
    finally:
        stop(process)


if __name__ == "__main__":
    sys.exit(main())
