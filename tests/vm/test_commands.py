# SPDX-License-Identifier: GPL-2.0-only
"""What the commands say of real interrupts that were moved: planned, drifted, unconfirmed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import agenttune, journal

from vm.lab.machine import FLOOD_NIC
from vm.scene import interfaces
from vm.scene.audit import differences, snapshot
from vm.scene.scene import Cast, Scene, playing

pytestmark = pytest.mark.guest

# Beside a flood each command would take a minute.
QUIET = Cast(agent_cpu=1, interrupts_cpu=1, flooded=False, seconds=900.0)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """The agent stands still, as this is about what is written, not what it does."""
    with playing(QUIET) as played:
        played.agent.send_signal(signal.SIGSTOP)
        yield played
        played.agent.send_signal(signal.SIGCONT)


@pytest.fixture
def state(tmp_path: Path, scene: Scene) -> Iterator[Path]:
    with journal(tmp_path, scene) as state:
        yield state


def test_planning_again_after_apply_finds_nothing(scene: Scene, state: Path) -> None:
    before = snapshot(scene.agent.pid)
    agenttune("apply", "agent-latency-strict", "--state-dir", state)
    time.sleep(1.0)
    plan = json.loads(agenttune("plan", "agent-latency-strict", "--json"))["plan"]
    assert plan["changes"] == []
    agenttune("revert", "--state-dir", state)
    assert not differences(before, snapshot(scene.agent.pid))


def test_a_foreign_write_is_drift_and_is_left_alone(scene: Scene, state: Path) -> None:
    (irq,) = (i for i, name in interfaces.vectors(FLOOD_NIC).items() if "input" in name)
    path = Path(f"/proc/irq/{irq}/smp_affinity_list")
    original = path.read_text()
    agenttune("apply", "agent-latency", "--state-dir", state)
    try:
        path.write_text("0,3")
        assert "drifted" in agenttune("status", "--state-dir", state, code=2)
        assert "foreign" in agenttune("revert", "--state-dir", state, code=3)
        assert path.read_text() == "0,3\n"
    finally:
        path.write_text(original)


def test_an_unconfirmed_change_goes_back_by_itself(scene: Scene, state: Path) -> None:
    before = snapshot(scene.agent.pid)
    agenttune("apply", "agent-latency", "--confirm-within", "30", "--state-dir", state)
    assert differences(before, snapshot(scene.agent.pid))
    deadline = time.monotonic() + 120
    while differences(before, snapshot(scene.agent.pid)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not differences(before, snapshot(scene.agent.pid))
    assert "nothing is applied" in agenttune("status", "--state-dir", state)
