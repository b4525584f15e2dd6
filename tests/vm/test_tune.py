# SPDX-License-Identifier: GPL-2.0-only
"""The main job on real interrupts, judged by /proc alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import agenttune, journal

from vm.lab.machine import AGENT_NIC, FLOOD_NIC
from vm.scene import interfaces
from vm.scene.audit import differences, snapshot
from vm.scene.scene import Cast, Scene, playing

pytestmark = pytest.mark.guest

AGENT_CPU = 1
# The pause makes NIC B raise about 1000 interrupts a second, so that there is much to count.
CAST = Cast(agent_cpu=AGENT_CPU, interrupts_cpu=AGENT_CPU, pause_us=300, seconds=900.0)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with playing(CAST) as played:
        yield played


@pytest.fixture
def state(tmp_path: Path, scene: Scene) -> Iterator[Path]:
    with journal(tmp_path, scene) as state:
        yield state


def on_agent_cpu() -> dict[str, int]:
    """Interrupts so far on the agent's CPU, by vector of NIC A and NIC B."""
    return {
        name: interfaces.counts(irq)[AGENT_CPU]
        for address in (AGENT_NIC, FLOOD_NIC)
        for irq, name in interfaces.vectors(address).items()
    }


def rates(seconds: float) -> dict[str, int]:
    before = on_agent_cpu()
    time.sleep(seconds)
    return {name: count - before[name] for name, count in on_agent_cpu().items()}


@pytest.mark.iommu
def test_tune_moves_the_work_and_revert_restores_every_file(scene: Scene, state: Path) -> None:
    before = snapshot(scene.agent.pid)
    busy = [name for name, count in rates(2.0).items() if count > 20]
    assert len(busy) >= 2, "the scene raises too few interrupts to judge by"

    tuned: dict[str, Any] = json.loads(
        agenttune("tune", "agent-latency", "--seconds", "3", "--state-dir", state, "--json")
    )["tuned"]
    assert tuned["proof"]["landed"]
    assert {each["vector"].rsplit("/")[-1] for each in tuned["proof"]["vectors"]} >= set(busy)
    left = rates(2.0)
    assert all(count <= 1 for count in left.values()), left
    assert differences(before, snapshot(scene.agent.pid))
    assert "applied" in agenttune("status", "--state-dir", state)

    assert "every value is as it was" in agenttune("revert", "--state-dir", state)
    assert not differences(before, snapshot(scene.agent.pid))
    back = rates(2.0)
    assert all(back[name] > 20 for name in busy), back
