# SPDX-License-Identifier: GPL-2.0-only
"""NAPI threads of a real NIC: found, moved off the agent's CPU with a plan, and put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttune.change.apply import apply
from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.change.revert import revert
from agenttune.errors import ExitCode
from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile
from vm.lab.machine import TOOL_NIC
from vm.scene import interfaces

pytestmark = pytest.mark.guest

PROFILE = Profile("test", "", agent_cpus=CpuMask.of([1]), placement=Placement.AWAY)


@pytest.fixture
def threaded() -> Iterator[str]:
    with interfaces.threaded(TOOL_NIC):
        yield interfaces.interface(TOOL_NIC)


def test_napi_threads_follow_the_plan(threaded: str, tmp_path: Path) -> None:
    threads = [each for each in read_host().napi_threads if each.interface == threaded]
    assert threads
    for thread in threads:
        assert Path(f"/proc/{thread.pid}/comm").read_text() == f"{thread.comm}\n"
        assert set(thread.affinity) == os.sched_getaffinity(thread.pid)
        assert 1 in thread.affinity
    with open_journal(tmp_path / "state") as journal:
        apply(make_plan(read_host(), PROFILE), Kernel(), journal)
        assert all(1 not in os.sched_getaffinity(thread.pid) for thread in threads)
        assert revert(Kernel(), journal).exit_code is ExitCode.OK
    assert all(set(each.affinity) == os.sched_getaffinity(each.pid) for each in threads)
