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
    MANAGED,
    PINNED,
    SOCKET,
    THREAD,
    FakeKernel,
    affinity_file,
    contents,
    do_apply,
    do_revert,
    irq_of,
    make_plan,
    plan_of,
)

from agenttune.change.apply import apply, preview
from agenttune.change.confirm import confirm
from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.change.revert import revert
from agenttune.change.verify import Condition, status
from agenttune.errors import (
    AgenttuneError,
    ApplyError,
    ExitCode,
    HostError,
    InputError,
    RevertIncomplete,
)
from agenttune.policy.plan import KnobKind


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


def test_same_plan_again_does_nothing(kernel: FakeKernel, state: Path) -> None:
    plan = make_plan(kernel.root)
    do_apply(kernel, plan, state)
    kernel.written.clear()
    again = do_apply(kernel, plan, state)
    assert again.txn is None
    assert {item.entry.note for item in again.items} == {"it is so already"}
    assert kernel.written == []


def test_preview_writes_nothing(kernel: FakeKernel) -> None:
    start = contents(kernel.root)
    done = preview(make_plan(kernel.root), kernel)
    assert done.txn is None
    assert {item.condition for item in done.items} == {Condition.UNWRITTEN}
    assert contents(kernel.root) == start


def test_stale_plan_is_refused_before_any_write(kernel: FakeKernel, state: Path) -> None:
    plan = make_plan(kernel.root)
    start = contents(kernel.root)
    budget = kernel.root / "proc/sys/net/core/netdev_budget"
    budget.write_text("301\n")
    with pytest.raises(
        ApplyError, match=r"netdev_budget shows '301', the plan has '300'"
    ) as caught:
        do_apply(kernel, plan, state)
    assert "Plan again" in caught.value.hint
    budget.write_text("300\n")
    assert contents(kernel.root) == start


def test_plan_of_another_boot_is_refused(kernel: FakeKernel, state: Path) -> None:
    with pytest.raises(ApplyError, match="another boot"):
        do_apply(kernel, replace(make_plan(kernel.root), boot_id="other"), state)


def test_knob_planned_twice_is_refused(kernel: FakeKernel, state: Path) -> None:
    plan = make_plan(kernel.root)
    with pytest.raises(InputError, match="twice"):
        do_apply(kernel, replace(plan, changes=plan.changes * 2), state)


@pytest.mark.parametrize(
    ("kind", "target", "wanted", "error", "message"),
    [
        (KnobKind.VECTOR_AFFINITY, PINNED[0], "0-x", InputError, "not a CPU number"),
        (KnobKind.VECTOR_AFFINITY, "0000:01:00.0/9/none", "1", ApplyError, "no interrupt vector"),
        (KnobKind.VECTOR_AFFINITY, "0000:01:00.0", "1", ApplyError, "not a vector"),
        (KnobKind.VECTOR_AFFINITY, "../../etc/1/x", "1", ApplyError, "not a vector"),
        (KnobKind.RPS_CPUS, "../rx-0", "1", ApplyError, "not a queue"),
        (KnobKind.RPS_CPUS, "eth0/rx-9", "1", ApplyError, "no network queue"),
        (KnobKind.XPS_CPUS, "eth0/tx-0/../tx-1", "1", ApplyError, "not a queue"),
        (KnobKind.SYSCTL, "kernel.core_pattern", "1", HostError, "no known inverse"),
        (KnobKind.SYSCTL, "net.core.dev_weight", "6 4", InputError, "invalid literal"),
    ],
)
def test_impossible_change_is_refused(
    kernel: FakeKernel,
    state: Path,
    kind: KnobKind,
    target: str,
    wanted: str,
    error: type[AgenttuneError],
    message: str,
) -> None:
    plan = make_plan(kernel.root)
    start = contents(kernel.root)
    change = next(change for change in plan.changes if change.knob.kind is kind)
    bad = replace(change, knob=replace(change.knob, target=target), wanted=wanted)
    with pytest.raises(error, match=message):
        do_apply(
            kernel,
            replace(plan, changes=(*plan_of(plan, KnobKind.DEFAULT_AFFINITY).changes, bad)),
            state,
        )
    assert contents(kernel.root) == start


def test_managed_vector_is_skipped_by_its_mode(kernel: FakeKernel, state: Path) -> None:
    plan = plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY)
    managed = replace(
        plan.changes[0],
        knob=replace(plan.changes[0].knob, target=MANAGED),
        before="0",
        wanted="1",
    )
    done = do_apply(kernel, replace(plan, changes=(managed, *plan.changes)), state)
    assert done.items[0].condition is Condition.SKIPPED
    assert done.items[0].entry.note.startswith("managed: ")
    assert affinity_file(kernel.root, MANAGED) not in kernel.written
    assert len(kernel.written) == len(PINNED)


@pytest.mark.parametrize("code", [errno.EIO, errno.EPERM])
def test_managed_vector_is_skipped_by_errno(kernel: FakeKernel, state: Path, code: int) -> None:
    kernel.faults[affinity_file(kernel.root, PINNED[1])] = code
    done = do_apply(kernel, plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY), state)
    assert [item.condition for item in done.items] == ["applied", "skipped", "applied"]
    assert "isolcpus=managed_irq" in done.items[1].entry.note
    assert do_revert(kernel, state).exit_code is ExitCode.OK


FATAL = {
    errno.EPERM: "not-permitted",
    errno.EACCES: "not-permitted",
    errno.EIO: "failed: Input/output error",
    errno.ENOSPC: "vectors-exhausted",
    errno.EROFS: "read-only",
    errno.EINVAL: "invalid",
    errno.ENODEV: "gone",
    errno.EBUSY: "busy",
    errno.EOPNOTSUPP: "unsupported",
}


@pytest.mark.parametrize("seq", range(10))
def test_every_errno_at_every_write(kernel: FakeKernel, state: Path, seq: int) -> None:
    """The change fails: either it alone is skipped for a reason, or nothing of the plan stays."""
    plan = make_plan(kernel.root)
    start = contents(kernel.root)
    change, place = plan.changes[seq], fault_place(kernel, seq)
    for code, reason in FATAL.items():
        kernel.faults[place] = code
        if is_skipped(change.knob.kind, code):
            done = do_apply(kernel, plan, state)
            assert done.items[seq].condition is Condition.SKIPPED
            assert [item.condition for item in done.items].count(Condition.APPLIED) == 9
        else:
            with pytest.raises(ApplyError, match=reason) as caught:
                do_apply(kernel, plan, state)
            assert change.label in caught.value.message
            assert caught.value.hint
            assert contents(kernel.root) == start
        kernel.faults.clear()
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start


def is_skipped(kind: KnobKind, code: int) -> bool:
    if kind is KnobKind.VECTOR_AFFINITY:
        return code in (errno.EIO, errno.EPERM)
    with_its_target = (
        KnobKind.TASK_AFFINITY,
        KnobKind.IRQ_THREAD_AFFINITY,
        KnobKind.IRQBALANCE_BANS,
    )
    return kind in with_its_target and code == errno.ENODEV


def fault_place(kernel: FakeKernel, seq: int) -> str | int:
    """Where FakeKernel looks for a fault of the plan's change number `seq`."""
    vectors = [affinity_file(kernel.root, target) for target in PINNED]
    queues = "/sys/class/net/eth0/queues"
    places: list[str | int] = [
        SOCKET,
        "/proc/sys/net/core/netdev_budget",
        "/proc/irq/default_smp_affinity",
        *vectors,
        THREAD,
        f"{queues}/rx-0/rps_cpus",
        f"{queues}/tx-1/xps_cpus",
        AGENT,
    ]
    return places[seq]


def test_interrupt_restores_what_was_written(kernel: FakeKernel, state: Path) -> None:
    """Ctrl-C after the fifth write."""
    plan = make_plan(kernel.root)
    start = contents(kernel.root)
    write_once, count = kernel.write_once, iter(range(100))

    def interrupted(path: str, text: str) -> str:
        shown = write_once(path, text)
        if next(count) == 4:
            raise KeyboardInterrupt
        return shown

    kernel.write_once = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        do_apply(kernel, plan, state)
    assert contents(kernel.root) == start
    assert do_revert(kernel, state).restorations == ()


def test_failed_undo_says_what_is_left(kernel: FakeKernel, state: Path) -> None:
    plan = plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY, KnobKind.TASK_AFFINITY)
    start = contents(kernel.root)
    stuck = affinity_file(kernel.root, PINNED[1])
    kernel.faults[AGENT] = errno.EINVAL
    write_once = kernel.write_once

    def once_only(path: str, text: str) -> str:
        shown = write_once(path, text)
        if path == stuck:
            kernel.faults[stuck] = errno.ENOSPC
        return shown

    kernel.write_once = once_only  # type: ignore[method-assign]
    with pytest.raises(RevertIncomplete, match=r"eth0-TxRx-1: failed: .*vectors-exhausted"):
        do_apply(kernel, plan, state)
    with pytest.raises(ApplyError, match="not fully undone"):
        do_apply(kernel, plan, state)
    kernel.faults.clear()
    kernel.write_once = write_once  # type: ignore[method-assign]
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert contents(kernel.root) == start


def test_value_that_the_kernel_alters_is_undone(kernel: FakeKernel, state: Path) -> None:
    plan = plan_of(make_plan(kernel.root), KnobKind.SYSCTL, KnobKind.DEFAULT_AFFINITY)
    start = contents(kernel.root)
    write_once = kernel.write_once
    kernel.write_once = lambda path, text: write_once(  # type: ignore[method-assign]
        path, "601\n" if text == "600\n" else text
    )
    with pytest.raises(ApplyError, match=r"wrote '600' to sysctl .*, but it shows '601'"):
        do_apply(kernel, plan, state)
    assert contents(kernel.root) == start


def test_further_plan_on_top(kernel: FakeKernel, state: Path) -> None:
    """Two transactions on the same knobs; revert goes through the second's old values."""
    start = contents(kernel.root)
    first = plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY)
    second = replace(
        first, changes=tuple(replace(c, before="1", wanted="0") for c in first.changes)
    )
    do_apply(kernel, first, state)
    assert do_apply(kernel, second, state).txn == 2
    with open_journal(state) as journal:
        found = status(kernel, journal)
    assert [item.condition for item in found.items] == ["applied"] * 3 + ["covered"] * 3
    assert found.exit_code is ExitCode.OK
    undone = do_revert(kernel, state)
    assert [each.txn for each in undone.restorations] == [2, 2, 2, 1, 1, 1]
    assert contents(kernel.root) == start


def test_other_user_is_refused(
    kernel: FakeKernel, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(state) as journal:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(HostError, match=r"needs root.*uid 1000"):
            apply(make_plan(kernel.root), Kernel(), journal)
        with pytest.raises(HostError, match="needs root"):
            revert(Kernel(), journal)
        with pytest.raises(HostError, match="needs root"):
            confirm(Kernel(), journal)


def test_irqbalance_without_socket_is_refused(kernel: FakeKernel, state: Path) -> None:
    (kernel.root / SOCKET[1:]).unlink()
    start = contents(kernel.root)
    with pytest.raises(
        HostError, match=r"irqbalance \(pid 700\) runs without its socket"
    ) as caught:
        do_apply(kernel, make_plan(kernel.root), state)
    assert "stop it" in caught.value.hint
    assert contents(kernel.root) == start


def test_pending_effective_affinity_is_told(kernel: FakeKernel, state: Path) -> None:
    """Without interrupt remapping the vector goes on firing on the old CPU until it fires again."""
    plan = plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY)
    effective = kernel.root / f"proc/irq/{irq_of(kernel.root, PINNED[0])}/effective_affinity_list"
    write_once = kernel.write_once

    def lagging(path: str, text: str) -> str:
        old = effective.read_text()
        shown = write_once(path, text)
        effective.chmod(0o644)
        effective.write_text(old)
        return shown

    kernel.write_once = lagging  # type: ignore[method-assign]
    done = do_apply(kernel, plan, state)
    assert (done.items[0].condition, done.items[0].effective) == (Condition.PENDING, "0")
    effective.write_text("1\n")
    with open_journal(state) as journal:
        assert status(kernel, journal).items[-1].condition is Condition.APPLIED
