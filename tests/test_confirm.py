# SPDX-License-Identifier: GPL-2.0-only
"""Confirm: the deadline is kept outside this process, and a confirmed change stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from change_host import (
    FakeKernel,
    contents,
    do_revert,
    make_host,
    make_plan,
    plan_of,
)

from agenttune import document
from agenttune.change import timer
from agenttune.change.apply import Applied, apply
from agenttune.change.confirm import confirm, expire
from agenttune.change.entry import Transaction
from agenttune.change.journal import open_journal, read_journal
from agenttune.change.kernel import Kernel
from agenttune.change.verify import status
from agenttune.errors import ApplyError, ExitCode, HostError
from agenttune.policy.plan import KnobKind, Plan

PATIENCE_S = 20.0


class RealClock(FakeKernel):
    """The watchdog is another process: the two must agree on the time."""

    def now_ns(self) -> int:
        return Kernel.now_ns(self)


@pytest.fixture
def kernel(place: Path) -> FakeKernel:
    return RealClock(make_host(place / "root").root)


@pytest.fixture
def plan(kernel: FakeKernel) -> Plan:
    """Knobs that a plain Kernel, which the watchdog has, writes and reads in a tree as they are."""
    return plan_of(make_plan(kernel.root), KnobKind.SYSCTL, KnobKind.VECTOR_AFFINITY)


def apply_for(kernel: FakeKernel, plan: Plan, state: Path, seconds: float) -> Applied:
    with open_journal(state) as journal:
        return apply(plan, kernel, journal, confirm_within_s=seconds)


def recorded(state: Path) -> Transaction:
    with read_journal(state) as journal:
        assert journal is not None
        return journal.transactions()[-1]


def watchdog_of(state: Path) -> int:
    return int(recorded(state).timer.removeprefix("pid:").partition("@")[0])


def wait_for_end(pid: int) -> int:
    """Reap our watchdog; its exit code, or minus the signal that ended it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the watchdog did not end")


def test_unconfirmed_change_is_reverted(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    start = contents(kernel.root)
    began = time.monotonic()
    done = apply_for(kernel, plan, state, 1.0)
    assert done.confirm_within_s == 1.0
    pid = watchdog_of(state)
    assert contents(kernel.root) != start
    with read_journal(state) as journal:
        found = status(kernel, journal)
    assert found.awaiting == done.txn
    assert found.awaiting_s is not None
    assert 0 <= found.awaiting_s <= 1.0
    assert wait_for_end(pid) == 0
    assert time.monotonic() - began >= 1.0
    assert contents(kernel.root) == start
    assert recorded(state).open_entries == ()
    with open_journal(state) as journal, pytest.raises(HostError, match="waits for confirm"):
        confirm(kernel, journal)


def test_confirmed_change_stays(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    start = contents(kernel.root)
    done = apply_for(kernel, plan, state, 60.0)
    pid = watchdog_of(state)
    with open_journal(state) as journal:
        assert confirm(kernel, journal) == done.txn
    assert wait_for_end(pid) == -signal.SIGTERM
    assert contents(kernel.root) != start
    assert expire(kernel, state, done.txn or 0).restorations == ()
    with read_journal(state) as journal:
        found = status(kernel, journal)
    assert (found.awaiting, found.exit_code) == (None, ExitCode.OK)
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert contents(kernel.root) == start


def test_revert_before_the_deadline_ends_the_timer(
    kernel: FakeKernel, state: Path, plan: Plan
) -> None:
    start = contents(kernel.root)
    apply_for(kernel, plan, state, 60.0)
    pid = watchdog_of(state)
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert wait_for_end(pid) == -signal.SIGTERM
    assert contents(kernel.root) == start


def test_next_apply_waits_for_the_confirmation(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    apply_for(kernel, plan, state, 60.0)
    pid = watchdog_of(state)
    with pytest.raises(ApplyError, match="waits for confirmation"):
        apply_for(kernel, plan, state, 60.0)
    do_revert(kernel, state)
    wait_for_end(pid)


def test_hangup_does_not_stop_the_watchdog(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    start = contents(kernel.root)
    apply_for(kernel, plan, state, 1.0)
    pid = watchdog_of(state)
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGHUP)
    assert wait_for_end(pid) == 0
    assert contents(kernel.root) == start


def test_parent_dies_with_its_whole_session(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    """As when a terminal closes or a connection breaks: SIGHUP, then SIGKILL, to everything."""
    start = contents(kernel.root)
    plan_file = state.with_name("plan.json")
    plan_file.write_bytes(document.encode("plan", plan))
    script = (
        "import sys; from pathlib import Path; from agenttune import document\n"
        "from agenttune.change.apply import apply; from agenttune.policy.plan import Plan\n"
        "from agenttune.change.journal import open_journal\n"
        "from agenttune.change.kernel import Kernel\n"
        "root, state, plan = map(Path, sys.argv[1:])\n"
        "with open_journal(state) as journal:\n"
        "    apply(document.load('plan', Plan, plan), Kernel(root), journal, confirm_within_s=2)\n"
        "print('applied', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, kernel.root, state, plan_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "applied\n"
        assert contents(kernel.root) != start
        os.killpg(parent.pid, signal.SIGHUP)
        os.killpg(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while recorded(state).open_entries and time.monotonic() < deadline:
        time.sleep(0.05)
    assert contents(kernel.root) == start


def test_no_watchdog_no_write(
    kernel: FakeKernel, state: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = contents(kernel.root)
    monkeypatch.setattr(timer, "_package_path", lambda: "/nowhere")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HostError, match="did not start"):
        apply_for(kernel, plan, state, 60.0)
    assert kernel.written == []
    assert contents(kernel.root) == start
    assert recorded(state).open_entries == ()


SYSTEMD_RUN = """#!/bin/sh
printf '%s\\n' "$@" > "$OUT/systemd-run"
exit "$CODE"
"""
SYSTEMCTL = """#!/bin/sh
printf '%s\\n' "$@" > "$OUT/systemctl"
"""


@pytest.fixture
def systemd(kernel: FakeKernel, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that runs systemd, with commands that note down how they were called."""
    commands = place / "bin"
    commands.mkdir()
    for name, text in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    monkeypatch.setenv("OUT", str(place))
    monkeypatch.setenv("CODE", "0")
    (kernel.root / "run/systemd/system").mkdir(parents=True)
    kernel.live = True
    return place


def test_systemd_timer(kernel: FakeKernel, state: Path, plan: Plan, systemd: Path) -> None:
    apply_for(kernel, plan, state, 60.0)
    unit = recorded(state).timer.removeprefix("unit:")
    words = (systemd / "systemd-run").read_text().splitlines()
    assert f"--unit={unit}" in words
    active = next(word for word in words if word.startswith("--on-active="))
    assert 50 < float(active.removeprefix("--on-active=").removesuffix("s")) <= 60
    action = words[words.index(sys.executable) :]
    assert action[:4] == [sys.executable, "-P", "-m", "agenttune.change.confirm"]
    assert action[action.index("--txn") + 1] == "1"
    with open_journal(state) as journal:
        confirm(kernel, journal)
    assert (systemd / "systemctl").read_text().split() == ["stop", f"{unit}.timer"]


def test_systemd_that_refuses(
    kernel: FakeKernel, state: Path, plan: Plan, systemd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE", "1")
    with pytest.raises(HostError, match="could not arm"):
        apply_for(kernel, plan, state, 60.0)
    assert kernel.written == []
