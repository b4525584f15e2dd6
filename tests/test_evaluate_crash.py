# SPDX-License-Identifier: GPL-2.0-only
"""kill -9 of an evaluation at every effect, and at 50 random moments; then revert restores."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from change_host import FakeKernel, contents, do_revert
from evaluate_ground import BASE, PINNING, TUNED, FakeGround, run
from kill_points import kill_everywhere

from agenttune.errors import ExitCode
from agenttune.evaluate.arm import Arm, Command

MOMENTS = 50


def own_arm(kernel: FakeKernel) -> Arm:
    """Changes a file of the host as a foreign tool would: by itself, outside the journal."""
    weight = kernel.root / "proc/sys/net/core/dev_weight"
    return Arm(
        "own",
        "a test's",
        command=Command(
            f"cat {weight} > $AGENTTUNE_ARM_STATE; echo 7 > {weight}",
            f"[ ! -s $AGENTTUNE_ARM_STATE ] || cat $AGENTTUNE_ARM_STATE > {weight}",
        ),
    )


def without_marks(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: text for name, text in found.items() if "agenttune-commands" not in name}


def test_killed_at_every_effect(kernel: FakeKernel, place: Path) -> None:
    start = contents(kernel.root)
    state = place / "state-0"
    changed = 0
    arms = (BASE, TUNED, own_arm(kernel))

    def evaluate() -> None:
        run(kernel, state, FakeGround(kernel), arms, rounds=1)

    for at in kill_everywhere(evaluate):
        changed += without_marks(contents(kernel.root)) != start
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start, f"killed at point {at}"
        state = place / f"state-{at + 1}"
    assert at > 100
    assert changed > 40
    assert contents(kernel.root) == start


def test_killed_at_fifty_random_moments(kernel: FakeKernel, place: Path) -> None:
    """The child works all the time: it applies and reverts in a loop of short blocks."""
    start, draw = contents(kernel.root), random.Random(1)
    changed = 0
    for moment in range(MOMENTS):
        state = place / f"state-{moment}"
        arms = (BASE, TUNED, PINNING, own_arm(kernel))
        ground = FakeGround(kernel, settle_s=0.005)
        child = os.fork()
        if child == 0:
            try:
                run(kernel, state, ground, arms, rounds=10_000)
            finally:
                os._exit(1)
        time.sleep(draw.uniform(0.02, 0.4))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        changed += without_marks(contents(kernel.root)) != start
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start, f"killed at moment {moment}"
    assert changed > MOMENTS / 4
