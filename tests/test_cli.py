# SPDX-License-Identifier: GPL-2.0-only
"""The command line: what is accepted, what is refused, with which exit code and words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agenttune import __main__, cli
from agenttune.errors import InputError
from agenttune.host.selector import Selector, SelectorKind

TREE = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "agenttune")


def test_defaults() -> None:
    args = cli.parse(["measure"])
    assert (args.seconds, args.selectors, args.engine, args.json) == (10.0, (), "auto", False)


def test_selectors_accumulate() -> None:
    args = cli.parse(["measure", "--agent", "comm:a", "--agent", "pid:7", "--seconds", "2s"])
    assert args.selectors == (Selector(SelectorKind.COMM, "a"), Selector(SelectorKind.PID, "7"))
    assert args.seconds == 2.0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: VERB"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["measure", "--seconds", "0"], "above 0"),
        (["measure", "--seconds", "nan"], "above 0"),
        (["measure", "--seconds", "1e9"], "at most 86400"),
        (["measure", "--agent", "python"], "must start with one of comm:"),
        (["measure", "--agent", "comm:"], "names nothing"),
        (["measure", "--agent", "comm:" + "x" * 16], "15 bytes"),
        (["measure", "--agent", "pid:0"], "not a process id"),
        (["measure", "--agent", "cgroup:../x"], "absolute path"),
        (["plan"], "required: PROFILE"),
        (["completion", "fish"], "invalid choice: 'fish'"),
    ],
)
def test_refusals(argv: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        cli.parse(argv)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["plan", "agent-latenzy"], "agent-latency"),
        (["plan", "observe-only", "--measurement", "/nonexistent"], "No such file"),
        (["apply", "/nonexistent.json", "--dry-run"], "No such file"),
        (["show", "--root", "/proc/version"], "no such folder"),
    ],
)
def test_a_users_mistake_is_one_message(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(argv) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


@pytest.mark.parametrize(
    "words",
    [
        ["apply", "agent-latency"],
        ["revert"],
        ["confirm"],
        ["tune", "agent-latency"],
        ["measure", "--seconds", "1"],
    ],
)
def test_without_root_nothing_is_touched(words: list[str], tmp_path: Path) -> None:
    # The checkout may be below a directory that only root can read.
    read = "-all,+dac_read_search"
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    drop += [f"--inh-caps={read}", f"--ambient-caps={read}"]
    state = tmp_path / "state"
    options = [] if "measure" in words else ["--state-dir", str(state)]
    done = subprocess.run(
        [*(drop if os.geteuid() == 0 else ()), *COMMAND, *words, *options],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
    assert not state.exists()


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [*COMMAND, "show", "--json"], cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(30) in {0, 128 + signal.SIGPIPE}


@pytest.mark.bpf
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_window_and_still_reports(number: signal.Signals) -> None:
    started = time.monotonic()
    with subprocess.Popen(
        [*COMMAND, "measure", "--seconds", "60", "--json"],
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        time.sleep(2)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 0, err
    assert b'"schema": "agenttune.measurement/1"' in out
    assert time.monotonic() - started < 30
