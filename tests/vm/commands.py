# SPDX-License-Identifier: GPL-2.0-only
"""agenttune as an operator types it, in a guest; nothing that it applied outlives a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm.scene.audit import differences, snapshot
from vm.scene.scene import Scene

TREE = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "agenttune")


def agenttune(*words: str | Path, code: int = 0) -> str:
    """What it prints. Fails when it ends with another status than `code`."""
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@contextmanager
def journal(folder: Path, scene: Scene) -> Iterator[Path]:
    """A state directory; what a failed test left applied does not reach the next."""
    before = snapshot(scene.agent.pid)
    state = folder / "state"
    yield state
    if differences(before, snapshot(scene.agent.pid)):
        subprocess.run([*COMMAND, "revert", "--state-dir", state], cwd=TREE, check=False)
