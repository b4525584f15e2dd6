# SPDX-License-Identifier: GPL-2.0-only
"""What an evaluation reads about the host: the audit, and the counters beside a block."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from change_host import AGENT, FakeKernel, do_apply, do_revert, make_plan

from agenttune.evaluate import disturbances
from agenttune.evaluate.audit import differences, snapshot
from agenttune.host.tree import Tree
from agenttune.policy.plan import KnobKind


def test_the_audit_sees_every_kind_of_change_that_reads_as_a_file(
    kernel: FakeKernel, state: Path
) -> None:
    before = snapshot(kernel.tree, (AGENT,))
    assert differences(before, snapshot(kernel.tree, (AGENT,))) == ()
    plan = make_plan(kernel.root)
    do_apply(kernel, plan, state)
    changed = differences(before, snapshot(kernel.tree, (AGENT,)))
    # The interrupt's thread and irqbalance's bans have no file of their own.
    hidden = {KnobKind.IRQ_THREAD_AFFINITY, KnobKind.IRQBALANCE_BANS}
    assert len(changed) == sum(change.knob.kind not in hidden for change in plan.changes)
    do_revert(kernel, state)
    assert differences(before, snapshot(kernel.tree, (AGENT,))) == ()


def test_threads_that_come_and_go_are_no_difference() -> None:
    old = {"/proc/1/task/1/status": "a", "/proc/1/task/2/status": "a", "/x": "1"}
    new = {"/proc/1/task/1/status": "b", "/proc/1/task/3/status": "a"}
    assert differences(old, new) == (
        "/proc/1/task/1/status: was 'a', is 'b'",
        "/x: was '1', is 'not there'",
    )


def test_counters_of_the_live_host_move_with_its_work() -> None:
    tree = Tree(Path("/"))
    before = disturbances.read(tree, ())
    end = time.monotonic() + 0.5
    busy = [
        threading.Thread(target=lambda: [None for _ in iter(lambda: time.monotonic() < end, False)])
    ]
    for each in busy:
        each.start()
    for each in busy:
        each.join()
    after = disturbances.read(tree, ())
    found = disturbances.between(before, after)
    assert found.busy_pct is not None and 5 < found.busy_pct <= 100
    assert found.steal_pct is None or 0 <= found.steal_pct <= 100
    moved = disturbances.interrupts(before, after)
    assert any(label.startswith("LOC") for label in moved)
    assert all(count > 0 for counts in moved.values() for count in counts.values())


def test_what_a_host_does_not_tell_is_unknown(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    nothing = disturbances.read(tree, (1,))
    assert disturbances.between(nothing, nothing) == disturbances.Disturbances()


def test_recorded_counters(tmp_path: Path) -> None:
    def host(steal: int, throttles: int, migrations: int) -> disturbances.Reading:
        for path, text in {
            "proc/stat": f"cpu  100 0 0 {1000 - steal} 0 0 0 {steal} 0 0\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f"{throttles}\n",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": f"{2_000_000 + steal}\n",
            "proc/7/task/8/sched": f"x (8)\nse.nr_migrations    :   {migrations}\n",
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return disturbances.read(Tree(tmp_path), (7,))

    before = host(0, 5, 10)
    (tmp_path / "proc/stat").write_text("")
    after = host(100, 7, 13)
    found = disturbances.between(before, after)
    assert (found.throttles, found.migrations) == (2, 3)
    assert found.frequency_mhz == (2000, 2000)
