# SPDX-License-Identifier: GPL-2.0-only
"""The verb from end to end, on this machine: its only arm touches a file of the test's."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agenttune import document
from agenttune.evaluate.result import Evaluation

pytestmark = pytest.mark.bpf
TREE = Path(__file__).parent.parent
# Marks steps for ever, as a live agent does.
LIVE = """
import time, agenttune
print("ready", flush=True)
while True:
    with agenttune.step("turn", kind="tool"):
        sum(range(20_000))
    time.sleep(0.0005)
"""


class Run:
    """One evaluation in a folder: an arm that makes the file 'made', and takes it away again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, folder / "made"

    def words(self, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "agenttune", "evaluate", "observe-only", "--arms", "baseline"),
            *("--arm", "mine", "--apply", f"touch {self.made}", "--undo", f"rm -f {self.made}"),
            *("--settle", "0.05", "--mix", "tools", "--rate", "300"),
            *("--out", str(self.folder / "out"), "--state-dir", str(self.folder / "state"), *more),
        ]

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*more), cwd=TREE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def until_made(self, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + 60
        while not self.made.exists():
            assert process.poll() is None and time.monotonic() < end, process.communicate()
            time.sleep(0.02)

    def revert(self) -> int:
        state = ("--state-dir", str(self.folder / "state"))
        command = [sys.executable, "-m", "agenttune", "revert", *state]
        return subprocess.run(command, cwd=TREE, capture_output=True, check=False).returncode


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_an_evaluation_writes_its_report_and_leaves_nothing(run: Run) -> None:
    process = run.start("--blocks", "6", "--seconds", "0.4", "--json")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    done = document.decode("evaluation", Evaluation, out.encode(), "stdout")
    assert [arm.name for arm in done.ran] == ["baseline", "mine"]
    assert done.rounds == 6 and len(done.blocks) == 12 and not done.stopped
    for block in done.blocks:
        assert block.steps > 20
        assert block.attribution and block.attribution.agreement
        assert block.attribution.agreement.outside == 0
        assert block.attribution.agreement.matched >= block.steps - 2
    assert json.loads((run.folder / "out/results.json").read_bytes()) == json.loads(out)
    assert (run.folder / "out/report.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in (run.folder / "out").iterdir()) == [
        *("report.html", "results.json")
    ]
    assert not run.made.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_host_as_it_was(run: Run, number: signal.Signals) -> None:
    process = run.start("--blocks", "50", "--seconds", "0.6")
    run.until_made(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "STOPPED EARLY: a signal asked for it" in out
    assert not run.made.exists()
    assert run.revert() == 0


def test_after_a_kill_revert_takes_the_arm_back(run: Run) -> None:
    process = run.start("--blocks", "50", "--seconds", "30")
    run.until_made(process)
    process.kill()
    process.communicate()
    assert run.made.exists()
    assert run.revert() == 0
    assert not run.made.exists()


def test_a_live_agent_is_timed_by_its_marks(run: Run) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LIVE], cwd=TREE, text=True, stdout=subprocess.PIPE
    ) as agent:
        try:
            assert agent.stdout and agent.stdout.readline() == "ready\n"
            selector = ("--attach", f"pid:{agent.pid}")
            process = run.start("--blocks", "6", "--seconds", "0.4", *selector)
            out, err = process.communicate(timeout=180)
        finally:
            agent.kill()
    assert process.returncode == 0, err
    done = document.load("evaluation", Evaluation, run.folder / "out/results.json")
    assert done.settings.workload is None
    assert all(block.steps > 20 for block in done.blocks)
    assert re.search(r"^mine: p\d+ takes", out, re.MULTILINE)


def test_what_is_applied_already_is_no_baseline(run: Run) -> None:
    process = run.start("--blocks", "50", "--seconds", "30")
    run.until_made(process)
    process.kill()
    process.communicate()
    second = run.start()
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "something is applied already" in err and "agenttune revert" in err
    assert run.revert() == 0


def test_nothing_to_compare_is_an_error_with_reasons(tmp_path: Path) -> None:
    words = ("--arms", "tuned,pinning", "--out", str(tmp_path / "o"), "--mix", "tools")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "agenttune", "evaluate", "observe-only", "--seconds", "0.3"),
            *(*words, "--state-dir", str(tmp_path / "state")),
        ],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "there is no arm to compare" in done.stderr
    assert "the profile does not pin the agent" in done.stderr
