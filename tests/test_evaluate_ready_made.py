# SPDX-License-Identifier: GPL-2.0-only
"""The ready-made arms' shell commands, with programs that only say what they were asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agenttune.evaluate.arm import Arm, ready_made


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{body}\n')
    path.chmod(0o755)


def arm_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Arm:
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    found = ready_made()[name]
    assert isinstance(found, Arm)
    return found


def sh(command: str, folder: Path) -> None:
    environment = {
        **os.environ,
        "AGENTTUNE_ARM_STATE": str(folder / "state"),
        "AGENTTUNE_AGENT_CPUS": "1",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ready_made() == {
        "tuned-adm": "tuned-adm is not installed",
        "irqbalance": "irqbalance is not installed",
    }


@pytest.mark.parametrize(
    ("active", "undone"),
    [
        ("Current active profile: balanced", "profile balanced"),
        ("No current active profile.", "off"),
    ],
)
def test_tuned_gets_its_profile_back(
    active: str, undone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "tuned-adm", f'[ "$1" != active ] || echo "{active}"')
    arm = arm_of("tuned-adm", tmp_path, monkeypatch)
    assert arm.command
    sh(arm.command.apply, tmp_path)
    sh(arm.command.undo, tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["active", "profile network-latency", undone]


@pytest.mark.parametrize("name", ["tuned-adm", "irqbalance"])
def test_undoing_what_was_killed_before_it_began_does_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, name, "")
    arm = arm_of(name, tmp_path, monkeypatch)
    assert arm.command
    sh(arm.command.undo, tmp_path)
    assert not (tmp_path / "asked").exists()


def test_irqbalance_runs_once_with_the_agents_cpus_banned_and_every_mask_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This irqbalance moves nothing, so putting the masks back writes nothing."""
    program(tmp_path, "irqbalance", f'echo "$IRQBALANCE_BANNED_CPULIST" >> {tmp_path}/asked')
    arm = arm_of("irqbalance", tmp_path, monkeypatch)
    assert arm.command
    sh(arm.command.apply, tmp_path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["--oneshot --foreground --interval=2", "1"]
    kept = dict(line.split() for line in (tmp_path / "state").read_text().splitlines())
    masks = {
        str(path): path.read_text().strip() for path in Path("/proc/irq").glob("*/smp_affinity")
    }
    assert kept == masks
    sh(arm.command.undo, tmp_path)
    # What it would write: the mask of the one that someone moved.
    moved = tmp_path / "mask"
    moved.write_text("3\n")
    (tmp_path / "state").write_text(f"{moved} 1\n/no/such/file 1\n")
    sh(arm.command.undo, tmp_path)
    assert moved.read_text() == "1\n"
