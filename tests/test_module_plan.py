# SPDX-License-Identifier: GPL-2.0-only
"""The module in a plan: its changes and their reasons, what cannot be done, NAPI threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from change_host import FakeKernel, add_task
from module_host import RELEASE, hold_device, make_ko, with_module
from policy_hosts import host, mask, topology, vector

from agenttune.change.processes import holders
from agenttune.errors import PlanRefused
from agenttune.host.capture import read_host
from agenttune.host.host import Host, KernelModule, Napi, NapiThread, NetInterface
from agenttune.host.module import BUILDS, DEVICE, MODULE, SETTINGS
from agenttune.policy.module import DEFAULTS
from agenttune.policy.plan import LOADED, NOT_LOADED, KnobKind, Plan
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import ModuleWish, Placement, Profile
from agenttune.policy.profile_file import profile_search, read_profile
from agenttune.report.plan import plan_text

LOADABLE = KernelModule(file="/build/agent_latency.ko")
WISH = ModuleWish(load=True, placement="away", napi_budget=16, softirq_budget_us=200)
PROFILE = Profile("test", "", agent_cpus=mask("2-3"), module=WISH)
PF_KTHREAD = 0x00200000


def machine(module: KernelModule | None = LOADABLE, **fields: object) -> Host:
    return host(topology(), module=module, **fields)


def module_part(plan: Plan) -> list[tuple[str, str, str]]:
    kinds = (KnobKind.MODULE, KnobKind.MODULE_SETTING)
    changes = [change for change in plan.changes if change.knob.kind in kinds]
    return [(change.knob.target, change.before, change.wanted) for change in changes]


def test_load_first_placement_last() -> None:
    plan = make_plan(machine(), PROFILE)
    assert module_part(plan) == [
        (MODULE, NOT_LOADED, LOADED),
        ("agent_cpus", "", "2-3"),
        ("agent_napi_budget", "0", "16"),
        ("agent_softirq_budget_ns", "0", "200000"),
        ("placement", "off", "away"),
    ]
    assert all(change.reason and change.optional for change in plan.changes)
    assert "- none\n   + 2-3" in plan_text(plan)


def test_the_module_comes_after_everything_else() -> None:
    changes = make_plan(
        machine(vectors=(vector(40, "3", "3"),)), replace(PROFILE, placement=Placement.AWAY)
    ).changes
    kinds = [change.knob.kind for change in changes]
    assert kinds.index(KnobKind.VECTOR_AFFINITY) < kinds.index(KnobKind.MODULE)
    assert set(kinds[kinds.index(KnobKind.MODULE) + 1 :]) == {KnobKind.MODULE_SETTING}


def test_without_the_key_nothing_changes() -> None:
    plan = make_plan(machine(), replace(PROFILE, module=ModuleWish()))
    assert (plan.changes, plan.unmet) == ((), ())


def test_left_settings_are_left() -> None:
    plan = make_plan(machine(), replace(PROFILE, module=ModuleWish(load=True)))
    assert [target for target, *_ in module_part(plan)] == [MODULE, "agent_cpus"]


def test_loaded_already_only_what_differs_is_set() -> None:
    live = {**DEFAULTS, "agent_cpus": "2-3", "agent_napi_budget": "64"}
    plan = make_plan(machine(KernelModule(loaded="0.1.0", settings=live)), PROFILE)
    assert module_part(plan)[0] == ("agent_napi_budget", "64", "16")
    assert any("is loaded already" in note for note in plan.notes)
    wanted = live | {"agent_napi_budget": "16", "agent_softirq_budget_ns": "200000"}
    done = KernelModule(loaded="0.1.0", settings={**wanted, "placement": "away"})
    assert make_plan(machine(done), PROFILE).changes == ()


def test_what_cannot_be_done_is_said_and_the_rest_goes_on() -> None:
    module = KernelModule(obstacle="it is not built for kernel 6.12", remedy="Build it.")
    wish = replace(PROFILE, placement=Placement.AWAY)
    plan = make_plan(machine(module, vectors=(vector(40, "3", "3"),)), wish)
    assert [change.knob.kind for change in plan.changes] == [KnobKind.VECTOR_AFFINITY]
    text = plan_text(plan)
    assert "cannot be done (1):\n  load the kernel module agent_latency: it is not built" in text
    assert "remedy: Build it." in text


@pytest.mark.parametrize("module", [None, KernelModule(obstacle="no", remedy="Do.")])
def test_a_required_module_refuses_the_plan(module: KernelModule | None) -> None:
    wish = replace(PROFILE, module=replace(WISH, required=True))
    with pytest.raises(PlanRefused, match="requires the kernel module") as refused:
        make_plan(machine(module), wish)
    assert refused.value.hint
    changes = make_plan(machine(), wish).changes
    assert changes
    assert not any(change.optional for change in changes)


def test_unknown_agent_cpus_are_no_obstacle() -> None:
    plan = make_plan(machine(), replace(PROFILE, agent_cpus=None))
    assert "agent_cpus" not in [target for target, *_ in module_part(plan)]
    assert any("agent_cpus is left alone" in note for note in plan.notes)


def test_two_placements_are_told() -> None:
    plan = make_plan(machine(), replace(PROFILE, placement=Placement.AWAY))
    assert any("the module places vectors too" in note for note in plan.notes)


def test_the_shipped_profile_plans_the_module() -> None:
    shipped = replace(read_profile("agent-latency-module", profile_search()), agent_cpus=mask("1"))
    assert [target for target, *_ in module_part(make_plan(machine(), shipped))] == [
        MODULE, "agent_cpus", "agent_napi_budget", "agent_softirq_budget_ns",
    ]  # fmt: skip


def threaded(cpus: str, *, told: bool = True) -> Host:
    thread = NapiThread(77, 500, "napi/eth0-8193", "eth0", 8193, mask(cpus))
    napis = (Napi(8193, irq=40, pid=77),) if told else None
    interface = NetInterface("eth0", 2, None, None, (), napis, threaded=True)
    return machine(vectors=(vector(40, "0", "0"),), interfaces=(interface,), napi_threads=(thread,))


@pytest.mark.parametrize(("told", "wanted"), [(True, "0"), (False, "0-1")])
def test_napi_threads_leave_the_agents_cores(told: bool, wanted: str) -> None:
    away = replace(PROFILE, placement=Placement.AWAY, module=ModuleWish())
    (change,) = make_plan(threaded("0-3", told=told), away).changes
    assert (change.knob.kind, change.knob.target) == (KnobKind.TASK_AFFINITY, "77@500")
    assert (change.before, change.wanted) == ("0-3", wanted)
    assert make_plan(threaded("0-1"), away).changes == ()
    assert make_plan(threaded("0-3"), replace(away, placement=None)).changes == ()


def test_threads_that_no_bound_covers_are_told() -> None:
    plan = make_plan(threaded("0-1"), PROFILE)
    assert any("which the module does not bound" in note for note in plan.notes)


def test_napi_threads_are_read(kernel: FakeKernel) -> None:
    add_task(kernel.root, 77, 77, comm="napi/ens5-np0-12", start=500, flags=PF_KTHREAD)
    add_task(kernel.root, 78, 78, comm="napi/eth0-8193", start=500)
    assert read_host(kernel.root).napi_threads == (
        NapiThread(77, 500, "napi/ens5-np0-12", "ens5-np0", 12, mask("0-7")),
    )


def test_the_inventory_of_the_module(kernel: FakeKernel) -> None:
    assert read_host(kernel.root).module is None
    machine = with_module(kernel)
    built = f"{BUILDS}/{RELEASE}/{MODULE}.ko"
    assert read_host(machine.root).module == KernelModule(file=built)
    machine.load_module(built)
    found = read_host(machine.root).module
    assert found is not None
    assert (found.loaded, found.settings) == ("0.1.0", dict(DEFAULTS))
    assert (machine.root / SETTINGS[1:]).is_dir()


@pytest.mark.parametrize(
    ("spoil", "why", "remedy"),
    [
        ("absent", "it is not built for kernel 6.12.0-test", "linux-headers-6.12.0-test"),
        ("headers", "it is not built for kernel 6.12.0-test", "Run 'agenttune module build'."),
        ("other", "is for kernel 6.1.0, and this is 6.12.0-test", "module build"),
        ("damaged", "cannot be read as a module", "build it again"),
        ("disabled", "switched off until the next boot", "Boot again"),
        ("enforced", "takes signed modules only (module.sig_enforce), and", "mokutil"),
        ("locked", "locked down", "DKMS"),
    ],
)
def test_obstacles_are_known_before(kernel: FakeKernel, spoil: str, why: str, remedy: str) -> None:
    root = with_module(kernel).root
    spoil_host(root, spoil)
    found = read_host(root).module
    assert found is not None
    assert found.file is None
    assert why in found.obstacle
    assert remedy in found.remedy


def test_a_signed_module_passes_enforcement(kernel: FakeKernel) -> None:
    root = with_module(kernel).root
    spoil_host(root, "enforced")
    (root / BUILDS[1:] / RELEASE / f"{MODULE}.ko").write_bytes(make_ko(f"{RELEASE} ", signed=True))
    found = read_host(root).module
    assert found is not None
    assert found.file


def spoil_host(root: Path, how: str) -> None:
    build = root / BUILDS[1:] / RELEASE / f"{MODULE}.ko"
    put(root / "etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    if how in ("absent", "headers"):
        build.unlink()
    if how == "headers":
        put(root / f"lib/modules/{RELEASE}/build/Makefile", "")
    elif how == "other":
        build.write_bytes(make_ko("6.1.0 SMP "))
    elif how == "damaged":
        build.write_bytes(make_ko("6.1.0 SMP ")[:70])
    elif how == "disabled":
        put(root / "proc/sys/kernel/modules_disabled", "1\n")
    elif how == "enforced":
        put(root / "sys/module/module/parameters/sig_enforce", "Y\n")
    elif how == "locked":
        put(root / "sys/kernel/security/lockdown", "none integrity [confidentiality]\n")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_dkms_and_packed_modules_are_found(kernel: FakeKernel) -> None:
    import lzma

    root = with_module(kernel).root
    (root / BUILDS[1:] / RELEASE / f"{MODULE}.ko").unlink()
    packed = root / f"lib/modules/{RELEASE}/updates/dkms/{MODULE}.ko.xz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(lzma.compress(make_ko(f"{RELEASE} SMP ")))
    found = read_host(root).module
    assert found is not None
    assert found.file == f"/lib/modules/{RELEASE}/updates/dkms/{MODULE}.ko.xz"


def test_a_mapping_holds_the_device(kernel: FakeKernel) -> None:
    hold_device(kernel.root, 41)
    add_task(kernel.root, 42, 42, comm="mapper", start=9)
    put(kernel.root / "proc/42/maps", f"7f00-7f01 rw-s 00000000 00:06 5    {DEVICE}\n")
    assert holders(kernel, DEVICE) == ("agent (pid 41)", "mapper (pid 42)")
