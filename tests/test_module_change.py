# SPDX-License-Identifier: GPL-2.0-only
"""The module as a change: loaded through the journal, refused with reasons, unloaded last."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from change_host import FakeKernel, contents, do_apply, do_revert, make_host
from module_host import RELEASE, ModuleKernel, hold_device, with_module

from agenttune.change.apply import preview
from agenttune.change.entry import EntryState
from agenttune.change.journal import open_journal, read_journal
from agenttune.change.knobs.module import parse_setting
from agenttune.change.revert import Outcome, revert
from agenttune.change.revert import preview as preview_revert
from agenttune.change.verify import Condition, status
from agenttune.errors import ApplyError, ExitCode, HostError, RevertIncomplete
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import KernelModule
from agenttune.host.module import BUILDS, MODULE, SETTINGS, SYSFS
from agenttune.module_status import module_status
from agenttune.policy.module import plan_changes
from agenttune.policy.plan import Change, Knob, KnobKind, Plan

WANTED = {"agent_cpus": "6", "agent_napi_budget": "16", "placement": "away"}


@pytest.fixture
def machine(kernel: FakeKernel) -> ModuleKernel:
    return with_module(kernel)


def module_plan(*others: Change, optional: bool = False, loaded: bool = False) -> Plan:
    module = KernelModule(loaded="0.1.0", settings={}) if loaded else KernelModule(file="x.ko")
    changes = plan_changes(module, WANTED, optional=optional)
    nobody = CpuMask()
    return Plan("test", None, nobody, nobody, nobody, (*others, *changes))


BUDGET = Change(Knob(KnobKind.SYSCTL, "net.core.netdev_budget"), "300", "600", "budget", "a test")


def test_load_set_unload_leaves_nothing(machine: ModuleKernel, state: Path) -> None:
    start = contents(machine.root)
    done = do_apply(machine, module_plan(BUDGET), state)
    assert {item.condition for item in done.items} == {Condition.APPLIED}
    assert {name: machine.setting(name) for name in WANTED} == WANTED
    assert machine.loads == [f"{BUILDS}/{RELEASE}/{MODULE}.ko"]
    with read_journal(state) as journal:
        assert status(machine, journal).exit_code is ExitCode.OK
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.OK
    assert [each.entry.knob.target for each in undone.restorations] == [
        "placement", "agent_napi_budget", "agent_cpus", MODULE, "net.core.netdev_budget",
    ]  # fmt: skip
    left = contents(machine.root)
    assert {name: left[name] for name in left if "taken" not in name} == start


def test_a_preview_writes_nothing(machine: ModuleKernel) -> None:
    done = preview(module_plan(), machine)
    assert [item.condition for item in done.items] == [Condition.UNWRITTEN] * 4
    assert not machine.loads


@pytest.mark.parametrize(
    ("code", "prepare", "expected", "remedy"),
    [
        (errno.EEXIST, "", "loaded by someone else", "rmmod"),
        (errno.ENOEXEC, "", "does not fit this build", "module build"),
        (errno.ENOENT, "", "lacks a symbol", "module build"),
        (errno.ENOKEY, "", "it is not signed", "mokutil"),
        (errno.EKEYREJECTED, "sig_enforce", "takes signed modules only", "sign-file"),
        (errno.EPERM, "lockdown", "is locked down", "DKMS"),
        (errno.EPERM, "disabled", "switched off until the next boot", "Boot again"),
        (errno.EPERM, "", "may not load modules", "CAP_SYS_MODULE"),
        (errno.EIO, "", "its start failed (EIO)", "dmesg"),
    ],
)  # fmt: skip
def test_a_refused_load_is_explained_and_undone(
    machine: ModuleKernel, state: Path, code: int, prepare: str, expected: str, remedy: str
) -> None:
    refuse_by(machine.root, prepare)
    start = contents(machine.root)
    machine.refuses_load = code
    with pytest.raises(HostError) as caught:
        do_apply(machine, module_plan(BUDGET), state)
    assert expected in caught.value.message
    assert remedy in caught.value.hint
    assert contents(machine.root) == start
    with read_journal(state) as journal:
        assert journal is not None
        assert not journal.open_transactions()


def refuse_by(root: Path, how: str) -> None:
    """What makes the kernel refuse, as its files tell."""
    places = {
        "sig_enforce": ("sys/module/module/parameters/sig_enforce", "Y\n"),
        "lockdown": ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
        "disabled": ("proc/sys/kernel/modules_disabled", "1\n"),
    }
    if how:
        name, text = places[how]
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_optional_load_that_fails_leaves_the_rest(machine: ModuleKernel, state: Path) -> None:
    machine.refuses_load = errno.ENOKEY
    done = do_apply(machine, module_plan(BUDGET, optional=True), state)
    conditions = [item.condition for item in done.items]
    assert conditions == [Condition.APPLIED] + [Condition.SKIPPED] * 4
    assert "ENOKEY" in done.items[1].entry.note
    assert "not loaded" in done.items[2].entry.note
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.OK
    assert len(undone.restorations) == 1


def test_a_build_for_another_kernel_never_reaches_the_kernel(
    kernel: FakeKernel, state: Path
) -> None:
    machine = with_module(kernel, "6.1.0-other SMP mod_unload ")
    with pytest.raises(HostError, match=r"is for kernel 6\.1\.0-other \(vermagic\)"):
        do_apply(machine, module_plan(), state)
    (machine.root / BUILDS[1:] / RELEASE / f"{MODULE}.ko").write_text("no module")
    with pytest.raises(HostError, match="is not a kernel module"):
        do_apply(machine, module_plan(), state)
    (machine.root / BUILDS[1:] / RELEASE / f"{MODULE}.ko").unlink()
    with pytest.raises(HostError, match="is not built for kernel"):
        do_apply(machine, module_plan(), state)
    assert not machine.loads


def test_someone_elses_load_is_no_ground_for_ours(machine: ModuleKernel, state: Path) -> None:
    machine.load_module("theirs")
    with pytest.raises(ApplyError, match="the host changed"):
        do_apply(machine, module_plan(), state)


def test_a_setting_is_restored_to_what_it_started_with(machine: ModuleKernel, state: Path) -> None:
    plan = module_plan()
    other = replace(plan.changes[-1], before="near")
    done = do_apply(machine, replace(plan, changes=(*plan.changes[:-1], other)), state)
    assert done.items[-1].entry.before == "off"
    assert do_revert(machine, state).exit_code is ExitCode.OK


def test_a_failed_setting_undoes_the_load(machine: ModuleKernel, state: Path) -> None:
    machine.faults = {f"{SETTINGS}/placement": errno.EINVAL}
    with pytest.raises(ApplyError, match="placement"):
        do_apply(machine, module_plan(), state)
    assert not (machine.root / SYSFS[1:]).exists()


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EBUSY])
def test_in_use_is_left_and_said_and_tried_again(
    machine: ModuleKernel, state: Path, code: int
) -> None:
    do_apply(machine, module_plan(), state)
    hold_device(machine.root, 4321)
    machine.refuses_unload = code
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.REVERT_INCOMPLETE
    (left,) = [each for each in undone.restorations if each.outcome is Outcome.FAILED]
    assert left.entry.knob.kind is KnobKind.MODULE
    assert "in use" in left.detail
    assert "agent (pid 4321) has /dev/agent_latency open" in left.detail
    machine.refuses_unload = None
    again = do_revert(machine, state)
    assert [each.outcome for each in again.restorations] == [Outcome.RESTORED]
    assert do_revert(machine, state).restorations == ()


def test_settings_are_restored_before_the_unload(machine: ModuleKernel, state: Path) -> None:
    do_apply(machine, module_plan(), state)
    undone = do_revert(machine, state)
    assert [each.outcome for each in undone.restorations] == [Outcome.RESTORED] * 4
    assert undone.restorations[-1].entry.knob.kind is KnobKind.MODULE
    assert not (machine.root / SYSFS[1:]).exists()


def test_gone_already_is_fine(machine: ModuleKernel, state: Path) -> None:
    do_apply(machine, module_plan(), state)
    machine.unload_module(MODULE)
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.OK
    assert [each.outcome for each in undone.restorations] == [Outcome.DIED] * 3 + [
        Outcome.UNCHANGED
    ]


def test_loaded_again_by_someone_else_is_theirs(machine: ModuleKernel, state: Path) -> None:
    do_apply(machine, module_plan(), state)
    machine.unload_module(MODULE)
    machine.load_module("theirs")
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.REVERT_INCOMPLETE
    outcomes = [each.outcome for each in undone.restorations]
    assert outcomes == [Outcome.DIED] * 3 + [Outcome.FOREIGN]
    assert (machine.root / SYSFS[1:]).exists()


def test_another_boot_took_it_away(machine: ModuleKernel, state: Path) -> None:
    do_apply(machine, module_plan(), state)
    machine.unload_module(MODULE)
    (machine.root / "proc/sys/kernel/random/boot_id").write_text("another\n")
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.OK
    assert {each.outcome for each in undone.restorations} == {Outcome.EXPIRED}


def test_a_foreign_setting_keeps_the_module_once(machine: ModuleKernel, state: Path) -> None:
    """Unloading would take their value away: the first revert tells, the second unloads."""
    do_apply(machine, module_plan(), state)
    (machine.root / SETTINGS[1:] / "agent_napi_budget").write_text("99\n")
    with read_journal(state) as journal:
        assert status(machine, journal).exit_code is ExitCode.MISMATCH
        expected = [each.outcome for each in preview_revert(machine, journal).restorations]
    undone = do_revert(machine, state)
    assert undone.exit_code is ExitCode.REVERT_INCOMPLETE
    outcomes = [each.outcome for each in undone.restorations]
    assert outcomes == [Outcome.RESTORED, Outcome.FOREIGN, Outcome.RESTORED, Outcome.BLOCKED]
    assert outcomes == expected
    assert machine.setting("agent_napi_budget") == "99"
    again = do_revert(machine, state)
    assert again.exit_code is ExitCode.OK
    assert not (machine.root / SYSFS[1:]).exists()


def test_killed_before_the_result_is_undone(machine: ModuleKernel, state: Path) -> None:
    """The intents are there, some written, none recorded."""
    done = do_apply(machine, module_plan(), state)
    with open_journal(state) as journal:
        blank = [
            replace(i.entry, state=EntryState.INTENT, observed=None, context="") for i in done.items
        ]
        journal.settle(done.items[0].txn, blank)
    (machine.root / SETTINGS[1:] / "placement").write_text("off\n")
    assert do_revert(machine, state).exit_code is ExitCode.OK
    assert not (machine.root / SYSFS[1:]).exists()


def test_only_the_module_is_reverted_when_asked(machine: ModuleKernel, state: Path) -> None:
    do_apply(machine, module_plan(BUDGET), state)
    with open_journal(state) as journal:
        done = revert(machine, journal, {KnobKind.MODULE, KnobKind.MODULE_SETTING})
        assert done.exit_code is ExitCode.OK
        assert len(done.restorations) == 4
        (left,) = journal.open_transactions()
        assert [entry.knob.target for entry in left.open_entries] == ["net.core.netdev_budget"]
    assert do_revert(machine, state).exit_code is ExitCode.OK


def test_an_interrupted_apply_that_cannot_unload_says_so(
    machine: ModuleKernel, state: Path
) -> None:
    machine.faults = {f"{SETTINGS}/placement": errno.EINVAL}
    machine.refuses_unload = errno.EWOULDBLOCK
    with pytest.raises(RevertIncomplete, match="in use"):
        do_apply(machine, module_plan(), state)


def test_status_tells_whose_it_is(machine: ModuleKernel, state: Path) -> None:
    assert module_status(machine, None).version is None
    do_apply(machine, module_plan(), state)
    hold_device(machine.root, 4321)
    with read_journal(state) as journal:
        ours = module_status(machine, journal)
    assert (ours.ours, ours.transaction, ours.references) == (True, 1, 0)
    assert ours.users == ("agent (pid 4321)",)
    assert {s.name: s.applied for s in ours.settings if s.applied is not None} == WANTED
    assert [build.release for build in ours.builds] == [RELEASE]
    machine.unload_module(MODULE)
    machine.load_module("theirs")
    with read_journal(state) as journal:
        assert module_status(machine, journal).ours is False
    assert module_status(machine, None, journal_read=False).ours is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agent_cpus=3,1-2", ("agent_cpus", "1-3")),
        ("agent_cpus=", ("agent_cpus", "")),
        ("placement=near", ("placement", "near")),
        ("agent_napi_budget=016", ("agent_napi_budget", "16")),
    ],
)
def test_settings_are_parsed(text: str, expected: tuple[str, str]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize(
    "text",
    ["placement", "other=1", "placement=left", "agent_cpus=x", "agent_napi_budget=-1",
     "agent_napi_budget=" + "9" * 40, "=", ""],
)  # fmt: skip
def test_nonsense_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_setting(text)


def test_a_setting_without_inverse_is_refused(kernel: FakeKernel, place: Path) -> None:
    machine = with_module(make_host(place / "other"))
    bad = Change(Knob(KnobKind.MODULE_SETTING, "../../vm/x"), "0", "1", "x", "a test")
    nobody = CpuMask()
    with pytest.raises(HostError, match="no known inverse"):
        do_apply(machine, Plan("t", None, nobody, nobody, nobody, (bad,)), place / "state")
