# SPDX-License-Identifier: GPL-2.0-only
"""The scene raises real interrupts where it says, stays in its bounds and cleans up."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from vm.lab.machine import AGENT_NIC, FLOOD_NIC
from vm.scene import interfaces
from vm.scene.calls import Call, summarize
from vm.scene.flood import BURST_PACKETS
from vm.scene.scene import Cast, playing

pytestmark = pytest.mark.guest

CAST = Cast(seconds=60.0, pause_us=1000)


def vector(address: str, ending: str) -> int:
    return next(irq for irq, name in interfaces.vectors(address).items() if name.endswith(ending))


def processes(comm: str) -> list[Path]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == comm:
                found.append(path.parent)
        except FileNotFoundError:
            continue
    return found


def test_interrupts_land_on_the_chosen_cpu() -> None:
    with playing(CAST) as scene:
        received = [vector(AGENT_NIC, "input.0"), vector(FLOOD_NIC, "input.0")]
        scene.block(0.5)
        before = [interfaces.counts(irq) for irq in received]
        moved = [[0] * len(counts) for counts in before]
        calls: list[Call] = []
        # An emulated CPU may be many times slower than usual: enough work decides, not time.
        # A NIC whose flood never lets its NAPI rest hardly interrupts: 37 times in 40 s were seen.
        deadline = time.monotonic() + 40.0
        while len(calls) <= 100 or min(counts[1] for counts in moved) <= 10:
            assert time.monotonic() < deadline, f"{len(calls)} calls, interrupts per CPU {moved}"
            calls += scene.block(1.0)
            moved = [
                [new - old for old, new in zip(then, interfaces.counts(irq), strict=True)]
                for then, irq in zip(before, received, strict=True)
            ]
    for on_cpu in moved:
        assert on_cpu[0] == on_cpu[2] == on_cpu[3] == 0
    summary = summarize([call.round_trip_ns for call in calls])
    assert summary is not None
    assert 0 < summary.p50_ns <= summary.p90_ns <= summary.p99_ns


def test_the_agent_is_named_agent() -> None:
    with playing(Cast(seconds=30.0, flooded=False)):
        [agent] = processes("agent")
        assert "Cpus_allowed_list:\t1\n" in (agent / "status").read_text()
        assert [thread.name for thread in (agent / "task").iterdir()] == [agent.name]


def test_nothing_stays() -> None:
    irqs = [irq for address in (AGENT_NIC, FLOOD_NIC) for irq in interfaces.vectors(address)]
    before = [interfaces.affinity(irq) for irq in irqs]
    with playing(CAST) as scene:
        scene.block(0.2)
    assert [interfaces.affinity(irq) for irq in irqs] == before
    assert not [*processes("agent"), *processes("toolserver"), *processes("flood")]
    namespaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
    assert namespaces.stdout == ""


def test_the_flood_has_an_end() -> None:
    with playing(Cast(seconds=30.0, packets=10 * BURST_PACKETS)) as scene:
        scene.block(1.0)
        packets = _received(FLOOD_NIC)
        assert packets > 0
        scene.block(1.0)
        assert _received(FLOOD_NIC) == packets


def _received(address: str) -> int:
    name = interfaces.interface(address)
    return int(Path(f"/sys/class/net/{name}/statistics/rx_packets").read_text())
