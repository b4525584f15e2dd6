# SPDX-License-Identifier: GPL-2.0-only
"""Apply: what it writes, what it skips, what it refuses, what it leaves when a write fails."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from change_host import (
    AGENT,
    AGENT_TARGET,
    MANAGED,
    PINNED,
    SOCKET,
    FakeKernel,
    affinity_file,
    contents,
    do_apply,
    do_revert,
    irq_of,
    make_host,
    make_plan,
    plan_of,
)

from agenttune.change.apply import preview
from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.change.verify import Condition, status
from agenttune.errors import AgenttuneError, ApplyError, ExitCode, HostError, InputError
from agenttune.policy.plan import KnobKind


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return make_host(tmp_path / "root")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_every_kind_is_written_and_comes_back(kernel: FakeKernel, state: Path) -> None:
    start = contents(kernel.root)
    plan = make_plan(kernel.root)
    done = do_apply(kernel, plan, state)
    assert [item.condition for item in done.items] == [Condition.APPLIED] * len(plan.changes)
    assert kernel.read("/proc/irq/default_smp_affinity") == "03\n"
    assert kernel.read(affinity_file(kernel.root, PINNED[0])) == "1\n"
    assert kernel.read(SOCKET).split() == ["24", "25", "27", "90", "91"]
    assert str(kernel.task_affinity(AGENT)) == "6"
    undone = do_revert(kernel, state)
    assert undone.exit_code is ExitCode.OK
    assert len(undone.restorations) == len(plan.changes)
    assert contents(kernel.root) == start
