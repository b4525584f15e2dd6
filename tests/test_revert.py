# SPDX-License-Identifier: GPL-2.0-only
"""Revert: three-way, newest first, by identity, and honest about what it leaves."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from change_host import (
    AGENT,
    IRQBALANCE,
    PINNED,
    SOCKET,
    FakeKernel,
    add_task,
    affinity_file,
    contents,
    do_apply,
    do_revert,
    irq_of,
    make_host,
    make_plan,
    plan_of,
    renumber,
)

from agenttune.change.journal import open_journal, read_journal
from agenttune.change.revert import Outcome, Reverted, preview
from agenttune.change.verify import Condition, Status, status
from agenttune.errors import ApplyError, ExitCode
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import KnobKind, Plan


@pytest.fixture
def vectors(kernel: FakeKernel) -> Plan:
    return plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY)


def outcomes(done: Reverted) -> list[Outcome]:
    """In the order of the plan."""
    return [each.outcome for each in sorted(done.restorations, key=lambda each: each.entry.seq)]


def look(kernel: FakeKernel, state: Path) -> Status:
    with read_journal(state) as journal:
        return status(kernel, journal)


def test_nothing_to_do(kernel: FakeKernel, state: Path) -> None:
    assert look(kernel, state).items == ()
    assert do_revert(kernel, state).exit_code is ExitCode.OK


def test_second_revert_does_nothing(kernel: FakeKernel, state: Path, vectors: Plan) -> None:
    do_apply(kernel, vectors, state)
    do_revert(kernel, state)
    kernel.written.clear()
    assert do_revert(kernel, state) == Reverted(())
    assert kernel.written == []


def test_foreign_value_is_left_and_told_once(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    kernel.write_once(affinity_file(kernel.root, PINNED[1]), "5\n")
    seen = look(kernel, state)
    assert seen.exit_code is ExitCode.MISMATCH
    drifted = next(item for item in seen.items if item.condition is Condition.DRIFTED)
    assert (drifted.entry.knob.target, drifted.current) == (PINNED[1], "5")
    assert drifted.detail.startswith("irqbalance is active (pid 700")
    kernel.written.clear()
    done = do_revert(kernel, state)
    assert outcomes(done) == ["restored", "foreign", "restored"]
    assert done.exit_code is ExitCode.REVERT_INCOMPLETE
    assert "shows '5', neither '0-7' nor ours" in done.restorations[1].detail
    assert affinity_file(kernel.root, PINNED[1]) not in kernel.written
    assert do_revert(kernel, state) == Reverted(())


def test_value_put_back_by_hand_is_unchanged(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    kernel.write_once(affinity_file(kernel.root, PINNED[0]), "0-7\n")
    assert look(kernel, state).items[-1].condition is Condition.UNWRITTEN
    done = do_revert(kernel, state)
    assert outcomes(done) == ["unchanged", "restored", "restored"]
    assert done.exit_code is ExitCode.OK


def test_renumbered_device_is_found_again(kernel: FakeKernel, state: Path, vectors: Plan) -> None:
    """A driver bound again: other numbers, and the old ones belong to another device."""
    do_apply(kernel, vectors, state)
    renumber(kernel.root, {24: 25, 25: 40, 27: 24})
    kernel = FakeKernel(kernel.root)
    done = do_revert(kernel, state)
    assert outcomes(done) == ["restored"] * 3
    assert [kernel.read(affinity_file(kernel.root, target)) for target in PINNED] == ["0-7\n"] * 3


def test_number_reused_by_another_device_is_not_written(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    """eth0's first vector is gone; its number went to a vector of eth1 with our very mask."""
    do_apply(kernel, vectors, state)
    renumber(kernel.root, {24: None, 28: 24})
    kernel.write_once("/proc/irq/24/smp_affinity_list", "1\n")
    kernel.written.clear()
    done = do_revert(kernel, state)
    assert outcomes(done) == ["gone", "restored", "restored"]
    assert done.exit_code is ExitCode.REVERT_INCOMPLETE
    assert "/proc/irq/24/smp_affinity_list" not in kernel.written


def test_device_reset_by_its_driver_is_foreign(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    renumber(kernel.root, {24: 60})
    kernel.write_once("/proc/irq/60/smp_affinity_list", "0-3\n")
    drifted = look(kernel, state).items[-1]
    assert drifted.detail == "the driver set the device up again: irq 24 is now 60"
    done = do_revert(kernel, state)
    assert outcomes(done) == ["foreign", "restored", "restored"]
    assert "it was 24, it is 60 now" in done.restorations[-1].detail


def test_vanished_device(kernel: FakeKernel, state: Path, vectors: Plan) -> None:
    do_apply(kernel, vectors, state)
    renumber(kernel.root, {24: None, 25: None, 26: None})
    assert [item.condition for item in look(kernel, state).items] == ["applied", "gone", "gone"]
    done = do_revert(kernel, state)
    assert outcomes(done) == ["gone", "gone", "restored"]
    assert do_revert(kernel, state) == Reverted(())


def test_another_boot_expires_and_is_never_replayed(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    (kernel.root / "proc/sys/kernel/random/boot_id").write_text("later\n")
    kernel.written.clear()
    assert {item.condition for item in look(kernel, state).items} == {Condition.EXPIRED}
    done = do_revert(kernel, state)
    assert outcomes(done) == ["expired"] * 3
    assert done.exit_code is ExitCode.OK
    assert kernel.written == []


def test_apply_settles_another_boot_by_itself(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    for target in PINNED:
        kernel.write_once(affinity_file(kernel.root, target), "0-7\n")
    (kernel.root / "proc/sys/kernel/random/boot_id").write_text("later\n")
    assert do_apply(kernel, vectors, state).txn == 2
    assert {each.txn for each in do_revert(kernel, state).restorations} == {2}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EINVAL, errno.EBUSY, errno.EROFS])
def test_failed_restore_stays_for_another_try(
    kernel: FakeKernel, state: Path, vectors: Plan, code: int
) -> None:
    start = contents(kernel.root)
    do_apply(kernel, vectors, state)
    kernel.faults[affinity_file(kernel.root, PINNED[1])] = code
    done = do_revert(kernel, state)
    assert outcomes(done) == ["restored", "failed", "restored"]
    assert done.exit_code is ExitCode.REVERT_INCOMPLETE
    assert errno.errorcode[code] in done.restorations[1].detail
    with pytest.raises(ApplyError, match="not fully undone"):
        do_apply(kernel, vectors, state)
    kernel.faults.clear()
    done = do_revert(kernel, state)
    assert outcomes(done) == ["restored"]
    assert contents(kernel.root) == start


def test_older_change_waits_for_a_newer_that_failed(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    start = contents(kernel.root)
    do_apply(kernel, vectors, state)
    do_apply(kernel, further(vectors), state)
    kernel.faults[affinity_file(kernel.root, PINNED[0])] = errno.ENOSPC
    done = do_revert(kernel, state)
    assert [each.outcome for each in done.restorations] == [
        *("restored", "restored", "failed"),
        *("restored", "restored", "blocked"),
    ]
    kernel.faults.clear()
    done = do_revert(kernel, state)
    assert [(each.txn, each.outcome) for each in done.restorations] == [
        (2, "restored"),
        (1, "restored"),
    ]
    assert contents(kernel.root) == start


def further(plan: Plan) -> Plan:
    """The same knobs, from where `plan` leaves them to CPU 0."""
    changes = (replace(c, before=c.wanted, wanted="0") for c in plan.changes)
    return replace(plan, changes=tuple(changes))


def test_preview_equals_the_revert_and_writes_nothing(
    kernel: FakeKernel, state: Path, vectors: Plan
) -> None:
    do_apply(kernel, vectors, state)
    do_apply(kernel, further(vectors), state)
    kernel.write_once(affinity_file(kernel.root, PINNED[2]), "5\n")
    kernel.written.clear()
    with open_journal(state) as journal:
        foreseen = preview(kernel, journal)
    assert kernel.written == []
    done = do_revert(kernel, state)
    assert [each.outcome for each in foreseen.restorations] == [
        each.outcome for each in done.restorations
    ]
    assert foreseen.exit_code is ExitCode.REVERT_INCOMPLETE


def test_ended_task_took_its_value_along(kernel: FakeKernel, state: Path) -> None:
    do_apply(kernel, plan_of(make_plan(kernel.root), KnobKind.TASK_AFFINITY), state)
    (kernel.root / f"proc/{AGENT}/stat").unlink()
    done = do_revert(kernel, state)
    assert outcomes(done) == ["died"]
    assert done.exit_code is ExitCode.OK


def test_reused_pid_is_another_task(kernel: FakeKernel, state: Path) -> None:
    do_apply(kernel, plan_of(make_plan(kernel.root), KnobKind.TASK_AFFINITY), state)
    stat = kernel.root / f"proc/{AGENT}/stat"
    stat.write_text(stat.read_text().replace(" 5000 ", " 7000 "))
    kernel.written.clear()
    assert outcomes(do_revert(kernel, state)) == ["died"]
    assert kernel.written == []


def test_heirs_of_a_pinned_task_are_restored(kernel: FakeKernel, state: Path) -> None:
    do_apply(kernel, plan_of(make_plan(kernel.root), KnobKind.TASK_AFFINITY), state)
    later = kernel.now_ticks() + 5
    add_task(kernel.root, 1001, AGENT, start=later, mask="6")
    add_task(kernel.root, 1100, 1100, start=later, parent=AGENT, mask="6")
    add_task(kernel.root, 1200, 1200, start=later, parent=1100, mask="6")
    add_task(kernel.root, 1300, 1300, start=later, parent=1, mask="6")
    add_task(kernel.root, 1400, 1400, start=10, parent=AGENT, mask="6")
    add_task(kernel.root, 1500, 1500, start=later, parent=AGENT, mask="5-6")
    done = do_revert(kernel, state)
    assert done.heirs == 3
    masks = {pid: str(kernel.task_affinity(pid)) for pid in range(1000, 1600, 100)}
    assert str(kernel.task_affinity(1001)) == "0-7"
    assert masks == {1000: "0-7", 1100: "0-7", 1200: "0-7", 1300: "6", 1400: "6", 1500: "5-6"}


def test_interface_made_again_took_its_masks_along(kernel: FakeKernel, state: Path) -> None:
    plan = plan_of(make_plan(kernel.root), KnobKind.RPS_CPUS, KnobKind.XPS_CPUS)
    do_apply(kernel, plan, state)
    ifindex = kernel.root / "sys/class/net/eth0/ifindex"
    ifindex.chmod(0o644)
    ifindex.write_text("17\n")
    kernel.written.clear()
    done = do_revert(kernel, state)
    assert outcomes(done) == ["died", "died"]
    assert kernel.written == []


def test_filtered_rps_mask_is_ours(kernel: FakeKernel, state: Path) -> None:
    """The kernel keeps RPS to housekeeping CPUs: what is read back is less than was written."""
    plan = plan_of(make_plan(kernel.root), KnobKind.RPS_CPUS)
    plan = replace(plan, changes=(replace(plan.changes[0], wanted="0-2"),))
    start = contents(kernel.root)
    write_once = kernel.write_once
    kernel.write_once = lambda path, text: write_once(  # type: ignore[method-assign]
        path, "06" if text == "00000007\n" else text
    )
    done = do_apply(kernel, plan, state)
    assert (done.items[0].entry.observed, done.items[0].condition) == ("1-2", Condition.APPLIED)
    assert outcomes(do_revert(kernel, state)) == ["restored"]
    assert contents(kernel.root) == start


def test_irqbalance_restarted_since_lost_its_bans(kernel: FakeKernel, state: Path) -> None:
    plan = make_plan(kernel.root)
    do_apply(kernel, plan_of(plan, KnobKind.IRQBALANCE_BANS, KnobKind.VECTOR_AFFINITY), state)
    stat = kernel.root / f"proc/{IRQBALANCE}/stat"
    stat.write_text(stat.read_text().replace(" 300 ", " 9000 "))
    assert [item.condition for item in look(kernel, state).items][-1] is Condition.GONE
    kernel.written.clear()
    assert outcomes(do_revert(kernel, state)) == ["died", "restored", "restored", "restored"]
    assert SOCKET not in kernel.written


def test_irq_thread_that_followed_its_vector_is_ours(kernel: FakeKernel, state: Path) -> None:
    """The kernel moves a handler thread onto its vector's effective CPU by itself."""
    do_apply(kernel, plan_of(make_plan(kernel.root), KnobKind.IRQ_THREAD_AFFINITY), state)
    kernel.set_task_affinity(900, CpuMask.of([1]))
    irq = irq_of(kernel.root, "0000:02:00.0/1/eth1-TxRx-1")
    assert kernel.read(f"/proc/irq/{irq}/effective_affinity_list") == "1\n"
    assert look(kernel, state).exit_code is ExitCode.OK
    assert outcomes(do_revert(kernel, state)) == ["restored"]
    assert str(kernel.task_affinity(900)) == "0-7"


class MovingKernel(FakeKernel):
    """A vector's old mask shows for two reads after each write, as in the middle of a move."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stale: dict[str, tuple[str, int]] = {}

    def write_once(self, path: str, text: str) -> str:
        old = self.read(path)
        shown = super().write_once(path, text)
        if path.endswith("/smp_affinity_list"):
            self.stale[path] = (old, 2)
        return shown

    def read(self, path: str) -> str:
        old, left = self.stale.get(path, ("", 0))
        if left:
            self.stale[path] = (old, left - 1)
            return old
        return super().read(path)


def test_a_move_under_way_is_no_failure(place: Path) -> None:
    make_host(place / "root")
    kernel, state = MovingKernel(place / "root"), place / "state"
    plan = plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY)
    before = contents(kernel.root)
    do_apply(kernel, plan, state)
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert contents(kernel.root) == before
