# SPDX-License-Identifier: GPL-2.0-only
"""The main job on real interrupts, judged by /proc alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vm.lab.machine import AGENT_NIC, FLOOD_NIC
from vm.scene import interfaces
from vm.scene.audit import differences, snapshot
from vm.scene.scene import Cast, Scene, flooding, playing

pytestmark = pytest.mark.guest

TREE = Path(__file__).parent.parent.parent
AGENT_CPU = 1
AGENTTUNE = (sys.executable, "-m", "agenttune")
# Beside a flood every command takes a minute, so only the test that counts interrupts has one.
QUIET = Cast(agent_cpu=AGENT_CPU, interrupts_cpu=AGENT_CPU, flooded=False, seconds=900.0)
# The pause makes NIC B raise about 1000 interrupts a second, so that there is much to count.
FLOODED = replace(QUIET, flooded=True, pause_us=300)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with playing(QUIET) as played:
        yield played


@pytest.fixture
def state(tmp_path: Path, scene: Scene) -> Iterator[Path]:
    """A journal for one test; what a failed test left applied does not reach the next."""
    before = snapshot(scene.agent.pid)
    state = tmp_path / "state"
    yield state
    if differences(before, snapshot(scene.agent.pid)):
        subprocess.run([*AGENTTUNE, "revert", "--state-dir", state], cwd=TREE, check=False)


@pytest.fixture
def flood() -> Iterator[None]:
    with flooding(FLOODED):
        yield


@pytest.fixture
def pausing(scene: Scene) -> Iterator[None]:
    """The agent stands still, for tests of what is written, not of what it does."""
    scene.agent.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        scene.agent.send_signal(signal.SIGCONT)


def agenttune(*words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [*AGENTTUNE, *words],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


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
def test_tune_moves_the_work_and_revert_restores_every_file(
    scene: Scene, flood: None, state: Path
) -> None:
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


def test_planning_again_after_apply_finds_nothing(scene: Scene, pausing: None, state: Path) -> None:
    before = snapshot(scene.agent.pid)
    agenttune("apply", "agent-latency-strict", "--state-dir", state)
    time.sleep(1.0)
    plan = json.loads(agenttune("plan", "agent-latency-strict", "--json"))["plan"]
    assert plan["changes"] == []
    agenttune("revert", "--state-dir", state)
    assert not differences(before, snapshot(scene.agent.pid))


def test_a_foreign_write_is_drift_and_is_left_alone(
    scene: Scene, pausing: None, state: Path
) -> None:
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


def test_an_unconfirmed_change_goes_back_by_itself(
    scene: Scene, pausing: None, state: Path
) -> None:
    before = snapshot(scene.agent.pid)
    agenttune("apply", "agent-latency", "--confirm-within", "30", "--state-dir", state)
    assert differences(before, snapshot(scene.agent.pid))
    deadline = time.monotonic() + 120
    while differences(before, snapshot(scene.agent.pid)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not differences(before, snapshot(scene.agent.pid))
    assert "nothing is applied" in agenttune("status", "--state-dir", state)
