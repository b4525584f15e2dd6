# SPDX-License-Identifier: GPL-2.0-only
"""vm/evaluate: what it asks of the lab, with a lab that only says what it was asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agenttune import cli
from agenttune.evaluate.arm import Arm, choose, profile_arms
from agenttune.evaluate.statistics import MIN_ROUNDS
from agenttune.evaluate_options import request_of
from agenttune.policy.profile import Placement
from agenttune.policy.profile_file import profile_search, read_profile
from vm.scene.evaluate import FULL, PROFILE, QUICK, Size, command

TREE = Path(__file__).resolve().parents[1]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A checkout with vm/evaluate alone; its lab writes a line for each program to 'asked'."""
    checkout = tmp_path / "checkout"
    (checkout / "vm").mkdir(parents=True)
    shutil.copy(TREE / "vm/evaluate", checkout / "vm")
    for name, status in (("setup", 0), ("build-module", 1), ("run", 0)):
        path = checkout / "vm" / name
        path.write_text(f'#!/bin/sh\necho "{name} $PWD $*" >> {tmp_path}/asked\nexit {status}\n')
        path.chmod(0o755)
    return checkout


def run(lab: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """From another folder than the checkout, where '--out results' is then."""
    elsewhere = lab.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return subprocess.run(
        [lab / "vm/evaluate", *words], cwd=elsewhere, capture_output=True, text=True, check=False
    )


def asked(lab: Path) -> list[str]:
    path = lab.parent / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_the_guest_gets_the_options_and_the_callers_folder(lab: Path) -> None:
    done = run(lab, "--quick", "--out", "results", "--", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in asked(lab)] == ["setup", "build-module", "run"]
    assert all(line.split()[1] == str(lab) for line in asked(lab))
    out = lab.parent / "elsewhere/results"
    last = asked(lab)[-1]
    assert f"--out {out} -- " in last
    assert last.endswith("-m vm.scene.evaluate --quick -- --seed 7")
    assert "the module could not be built" in done.stderr
    assert f"The report: {out}/report.html" in done.stdout


def test_the_guests_status_is_the_scripts(lab: Path) -> None:
    (lab / "vm/run").write_text("#!/bin/sh\nexit 124\n")
    done = run(lab)
    assert done.returncode == 124
    assert "The report" not in done.stdout


def test_help_starts_nothing(lab: Path) -> None:
    done = run(lab, "--help")
    assert done.returncode == 0 and done.stdout.startswith("Usage: vm/evaluate")
    assert asked(lab) == []


@pytest.mark.parametrize("words", [("--slow",), ("quick",), ("--quick", "--out")], ids=" ".join)
def test_wrong_words_start_nothing(lab: Path, words: tuple[str, ...]) -> None:
    done = run(lab, *words)
    assert done.returncode == 2
    assert done.stdout == "" and "Usage: vm/evaluate" in done.stderr
    assert asked(lab) == []


def test_a_folder_that_cannot_be_made_starts_nothing(lab: Path) -> None:
    done = run(lab, "--out", "/proc/results")
    assert done.returncode == 1 and "/proc/results" in done.stderr
    assert asked(lab) == []


@pytest.mark.parametrize("size", [QUICK, FULL], ids=["quick", "full"])
def test_the_evaluation_accepts_what_the_scene_says(size: Size) -> None:
    profile = read_profile(str(TREE / PROFILE), profile_search())
    words = command(size, "/dev/nvme0n1", "/out", ["--seed", "7", "--blocks", "9"])
    args = cli.parse(words[words.index("agenttune") + 1 :])
    request = request_of(args.evaluation, profile, args.argv)
    assert (request.seed, request.rounds, request.seconds) == (7, 9, size.seconds)
    assert (request.workload.data, request.workload.rate) == ("/dev/nvme0n1", None)
    assert size.rounds >= MIN_ROUNDS
    chosen, _ = choose(profile, request.arms, ())
    assert {"baseline", "tuned", "affinity", "pinning", "budget", "guardrail"} <= {
        arm.name for arm in chosen
    }


def test_every_group_has_an_arm_in_the_scenes_profile() -> None:
    profile = read_profile(str(TREE / PROFILE), profile_search())
    missing = [name for name, arm in profile_arms(profile).items() if not isinstance(arm, Arm)]
    assert missing == [str(Placement.AWAY)] == [str(profile.placement)]
