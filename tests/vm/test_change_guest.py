# SPDX-License-Identifier: GPL-2.0-only
"""The transaction on real devices: every knob, managed vectors, rebinding, kills, irqbalance."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from kill_points import kill_everywhere

from agenttune.change.apply import Applied, apply
from agenttune.change.journal import open_journal, read_journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs import vector
from agenttune.change.knobs.registry import OPS
from agenttune.change.revert import Reverted, revert
from agenttune.change.verify import Condition, Status, status
from agenttune.errors import ExitCode
from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Change, Knob, KnobKind, Plan
from vm.lab.machine import (
    AGENT_NIC,
    MULTIQUEUE_NIC,
    MULTIQUEUE_PEER,
    NVME_DISK,
    SOURCE_NIC,
    TOOL_NIC,
    VIRTIO_DISK,
)
from vm.scene import interfaces
from vm.scene.audit import differences, snapshot

pytestmark = pytest.mark.guest

CACHE = Path(os.environ.get("AGENTTUNE_CACHE", "/var/cache/agenttune"))
PCI = Path("/sys/bus/pci/devices")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """What a failed test left applied does not reach the next."""
    yield tmp_path / "state"
    do_revert(tmp_path / "state")


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def change(kind: KnobKind, target: str, wanted: str) -> Change:
    kernel = Kernel()
    before = OPS[kind].read(kernel, OPS[kind].locate(kernel, target))
    return Change(Knob(kind, target), before, wanted, f"{kind} {target}", "a test")


def plan(*changes: Change) -> Plan:
    return Plan("guest", None, CpuMask(), CpuMask(), CpuMask(), changes)


def vectors_of(address: str) -> list[str]:
    """The keys of a device's vectors, in order of entry, by the inventory."""
    found = [each.key for each in read_host().vectors if each.key.device == address]
    return [str(key) for key in sorted(found, key=lambda key: key.entry)]


def moved(target: str, *, away_from: str = "") -> Change:
    """A change to a CPU that the vector is not on; `away_from` another one too."""
    kernel = Kernel()
    effective = vector.effective(kernel, str(vector.find_irq(kernel, target)))
    cpu = next(cpu for cpu in "3210" if cpu not in {effective, away_from})
    return change(KnobKind.VECTOR_AFFINITY, target, cpu)


def do_apply(state: Path, wanted: Plan) -> Applied:
    with open_journal(state) as journal:
        return apply(wanted, Kernel(), journal)


def do_revert(state: Path) -> Reverted:
    with open_journal(state) as journal:
        return revert(Kernel(), journal)


def look(state: Path) -> Status:
    with read_journal(state) as journal:
        return status(Kernel(), journal)


def test_every_knob_goes_there_and_back(
    state: Path, sleeper: int, guest_facts: Mapping[str, str]
) -> None:
    """As the files read, byte for byte; irqbalance has a test of its own.

    Of the guest's handlers only ACPI's is threaded, on 6.12 and not on 6.1.
    """
    queues = interfaces.interface(MULTIQUEUE_NIC)
    start = Path(f"/proc/{sleeper}/stat").read_text().rpartition(")")[2].split()[19]
    threaded = [each for each in read_host().vectors if each.threads]
    assert len(threaded) == {"6.1": 0, "6.12": 1}[guest_facts["kernel"]]
    wanted = plan(
        change(KnobKind.SYSCTL, "net.core.netdev_budget", "150"),
        change(KnobKind.SYSCTL, "net.core.netdev_budget_usecs", "12000"),
        change(KnobKind.SYSCTL, "net.core.dev_weight", "32"),
        change(KnobKind.DEFAULT_AFFINITY, "", "0-1"),
        *(moved(target) for target in vectors_of(AGENT_NIC)),
        *(change(KnobKind.IRQ_THREAD_AFFINITY, str(each.key), "2") for each in threaded),
        *(change(KnobKind.RPS_CPUS, f"{queues}/rx-{queue}", str(queue)) for queue in range(4)),
        *(change(KnobKind.XPS_CPUS, f"{queues}/tx-{queue}", str(queue)) for queue in range(4)),
        change(KnobKind.TASK_AFFINITY, f"{sleeper}@{start}", "3"),
    )
    handlers = [thread.pid for each in threaded for thread in each.threads]
    before = snapshot(sleeper)
    handlers_before = [os.sched_getaffinity(pid) for pid in handlers]
    done = do_apply(state, wanted)
    assert {item.condition for item in done.items} <= {Condition.APPLIED, Condition.PENDING}
    assert len(differences(before, snapshot(sleeper))) == len(wanted.changes) - len(threaded)
    assert [os.sched_getaffinity(pid) for pid in handlers] == [{2}] * len(handlers)
    assert look(state).exit_code is ExitCode.OK
    undone = do_revert(state)
    assert {each.outcome for each in undone.restorations} == {"restored"}
    assert not differences(before, snapshot(sleeper))
    assert [os.sched_getaffinity(pid) for pid in handlers] == handlers_before


@pytest.mark.parametrize("address", [NVME_DISK, VIRTIO_DISK])
def test_managed_vectors_are_told(
    state: Path, guest_facts: Mapping[str, str], address: str
) -> None:
    """The kernel's errno, then ours: skipped with a reason, and the rest of the plan goes on."""
    targets = [target for target in vectors_of(address) if not target.endswith(("q0", "config"))]
    assert len(targets) == 4
    kernel = Kernel()
    expected = {"6.1": errno.EIO, "6.12": errno.EPERM}[guest_facts["kernel"]]
    for target in targets:
        irq = vector.find_irq(kernel, target)
        with pytest.raises(OSError) as caught:
            kernel.write_once(f"/proc/irq/{irq}/smp_affinity_list", "0-3\n")
        assert caught.value.errno == expected
    before = snapshot(os.getpid())
    wanted = plan(
        *(change(KnobKind.VECTOR_AFFINITY, target, "0-3") for target in targets),
        moved(vectors_of(AGENT_NIC)[0]),
    )
    done = do_apply(state, wanted)
    assert [item.condition for item in done.items[:4]] == [Condition.SKIPPED] * 4
    assert {item.entry.note.partition(":")[0] for item in done.items[:4]} == {"managed"}
    assert done.items[4].condition is not Condition.SKIPPED
    assert do_revert(state).exit_code is ExitCode.OK
    assert not differences(before, snapshot(os.getpid()))


def test_fixed_timer_is_told(state: Path) -> None:
    """The timer's interrupt may not be moved either, and it is no MSI."""
    (timer,) = (str(each.key) for each in read_host().vectors if each.key.action == "timer")
    done = do_apply(state, plan(change(KnobKind.VECTOR_AFFINITY, timer, "1")))
    assert [item.condition for item in done.items] == [Condition.SKIPPED]
    assert done.items[0].entry.note.startswith("per-cpu: ")


@contextmanager
def rebound(*addresses: str) -> Iterator[None]:
    """The devices without a driver; then bound again in the order given, with other numbers."""
    drivers = {each: (PCI / each / "driver").resolve() for each in addresses}
    for address, driver in drivers.items():
        (driver / "unbind").write_text(address)
    try:
        yield
    finally:
        for address, driver in drivers.items():
            (driver / "bind").write_text(address)


def numbers(address: str) -> list[int]:
    """The IRQ numbers of a device's vectors, in order of entry, by the inventory."""
    found = [each for each in read_host().vectors if each.key.device == address]
    return [each.irq for each in sorted(found, key=lambda each: each.key.entry)]


def put(irqs: Iterable[int], cpus: str) -> None:
    """Write an affinity as a stranger would."""
    for irq in irqs:
        Path(f"/proc/irq/{irq}/smp_affinity_list").write_text(cpus)


def test_renumbered_vectors_are_found_by_device(state: Path) -> None:
    """Bound again after another device, a NIC has other numbers, and that device has its old ones.

    A driver starts with fresh masks. Where ours is put there by hand, revert finds and restores it
    under the new number; elsewhere nothing of ours is left to undo.
    """
    targets = vectors_of(TOOL_NIC)
    before = numbers(TOOL_NIC)
    wanted = plan(*(moved(target) for target in targets))
    do_apply(state, wanted)
    with rebound(MULTIQUEUE_PEER, TOOL_NIC):
        assert [item.condition for item in look(state).items] == [Condition.GONE] * len(targets)
    assert vectors_of(TOOL_NIC) == targets
    after = numbers(TOOL_NIC)
    name = interfaces.interface(MULTIQUEUE_PEER)
    interfaces.run_ip("link", "set", name, "up")
    try:
        reused = sorted(set(before) & interfaces.vectors(MULTIQUEUE_PEER).keys())
        assert after != before and reused
        ours = wanted.changes[0].wanted
        put([*reused, after[0]], ours)
        undone = do_revert(state)
        found = {each.entry.knob.target: each.outcome for each in undone.restorations}
        assert [found[target] for target in targets] == ["restored", "unchanged", "unchanged"]
        assert [interfaces.affinity(irq) for irq in after] == [c.before for c in wanted.changes]
        assert [interfaces.affinity(irq) for irq in reused] == [ours] * len(reused)
    finally:
        interfaces.run_ip("link", "set", name, "down")
        with rebound(TOOL_NIC, MULTIQUEUE_PEER):
            pass


def test_other_device_with_our_numbers_and_names_is_left_alone(state: Path) -> None:
    """Bound in the other order, one virtio NIC gets the other's numbers and its action names."""
    before = numbers(TOOL_NIC)
    names = [target.rpartition("/")[2] for target in vectors_of(TOOL_NIC)]
    wanted = plan(*(moved(target) for target in vectors_of(TOOL_NIC)))
    do_apply(state, wanted)
    with rebound(SOURCE_NIC, TOOL_NIC):
        pass
    try:
        assert [target.rpartition("/")[2] for target in vectors_of(SOURCE_NIC)] == names
        assert set(numbers(SOURCE_NIC)) & set(before)
        put(numbers(SOURCE_NIC), wanted.changes[0].wanted)
        undone = do_revert(state)
        assert {each.outcome for each in undone.restorations} == {"gone"}
        masks = [interfaces.affinity(irq) for irq in numbers(SOURCE_NIC)]
        assert masks == [wanted.changes[0].wanted] * len(names)
    finally:
        with rebound(TOOL_NIC, SOURCE_NIC):
            pass


def test_unbound_device_is_gone(state: Path) -> None:
    do_apply(state, plan(*(moved(target) for target in vectors_of(TOOL_NIC))))
    with rebound(TOOL_NIC):
        undone = do_revert(state)
    assert {each.outcome for each in undone.restorations} == {"gone"}
    assert undone.exit_code is ExitCode.REVERT_INCOMPLETE
    assert look(state).items == ()


@pytest.mark.iommu
def test_effective_affinity_lags_without_remapping(
    state: Path, guest_facts: Mapping[str, str]
) -> None:
    """A quiet vector moves at once with interrupt remapping, else at its next interrupt."""
    target = vectors_of(AGENT_NIC)[1]
    irq = vector.find_irq(Kernel(), target)
    _raise_interrupts()
    old, wanted = interfaces.effective_affinity(irq), moved(target)
    done = do_apply(state, plan(wanted))
    try:
        item = done.items[0]
        assert item.current == wanted.wanted
        if guest_facts["iommu"] == "yes":
            assert (item.condition, item.effective) == (Condition.APPLIED, wanted.wanted)
        else:
            assert (item.condition, item.effective) == (Condition.PENDING, old)
            _raise_interrupts()
        (seen,) = look(state).items
        assert (seen.condition, seen.effective) == (Condition.APPLIED, wanted.wanted)
    finally:
        assert do_revert(state).exit_code is ExitCode.OK


def _raise_interrupts() -> None:
    """A few packets between the two NICs: the answers to ARP come in at the agent's."""
    with (
        interfaces.namespace("peer", TOOL_NIC, "192.0.2.2/24"),
        interfaces.addressed(AGENT_NIC, "192.0.2.1/24"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for _ in range(10):
            sender.sendto(b"x", ("192.0.2.2", 9))
            time.sleep(0.1)


def test_killed_at_every_effect(tmp_path: Path, sleeper: int) -> None:
    """Real writes of three kinds of knob: kill apply, then kill revert, everywhere."""
    start = Path(f"/proc/{sleeper}/stat").read_text().rpartition(")")[2].split()[19]
    before = snapshot(sleeper)
    wanted = plan(
        change(KnobKind.SYSCTL, "net.core.dev_weight", "32"),
        moved(vectors_of(AGENT_NIC)[0]),
        change(KnobKind.TASK_AFFINITY, f"{sleeper}@{start}", "3"),
    )
    states = [tmp_path / "state-0"]
    differing = set()
    for at in kill_everywhere(lambda: do_apply(states[-1], wanted)):
        differing.add(len(differences(before, snapshot(sleeper))))
        assert do_revert(states[-1]).exit_code is ExitCode.OK
        assert not differences(before, snapshot(sleeper)), f"apply killed at point {at}"
        states.append(tmp_path / f"state-{at + 1}")
    assert differing == {0, 1, 2, 3}
    differing.clear()
    state = states[-1]
    for at in kill_everywhere(lambda: do_revert(state)):
        differing.add(len(differences(before, snapshot(sleeper))))
        assert do_revert(state).exit_code is ExitCode.OK
        assert not differences(before, snapshot(sleeper)), f"revert killed at point {at}"
        do_apply(state, wanted)
    assert differing == {0, 1, 2, 3}
    assert not differences(before, snapshot(sleeper))


# irqbalance


@contextmanager
def irqbalance_running(*arguments: str) -> Iterator[Path]:
    """The distribution's irqbalance, looking every second; its socket."""
    folder = Path("/run/irqbalance")
    folder.mkdir(exist_ok=True)
    command = [CACHE / "irqbalance/irqbalance", "--foreground", "--interval=1", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            control = folder / f"irqbalance{process.pid}.sock"
            deadline = time.monotonic() + 30
            while not control.exists():
                assert process.poll() is None and time.monotonic() < deadline, "no socket"
                time.sleep(0.1)
            yield control
        finally:
            process.kill()


def bans(control: Path) -> str:
    """What irqbalance itself lists, asked without the code under test's parser."""
    reply = Kernel().ask(str(control), "setup")
    return " ".join(re.findall(r"IRQ (\d+)", reply))


@contextmanager
def masks_kept() -> Iterator[None]:
    """irqbalance leaves its masks behind when it ends; put back what was there before it."""
    before = {each.irq: str(each.affinity) for each in read_host().vectors}
    try:
        yield
    finally:
        for irq, mask in before.items():
            path = Path(f"/proc/irq/{irq}/smp_affinity_list")
            if path.read_text().strip() != mask and path.stat().st_mode & 0o200:
                path.write_text(mask)


def test_irqbalance_leaves_moved_vectors_alone(state: Path) -> None:
    target = vectors_of(TOOL_NIC)[1]
    irq, own = vector.find_irq(Kernel(), target), numbers(SOURCE_NIC)[0]
    with masks_kept(), irqbalance_running(f"--banirq={own}") as control:
        assert bans(control) == str(own)
        done = do_apply(state, plan(change(KnobKind.IRQBALANCE_BANS, "", str(irq)), moved(target)))
        assert sorted(bans(control).split()) == sorted([str(irq), str(own)])
        time.sleep(5)
        assert interfaces.affinity(irq) == done.items[1].entry.wanted
        assert look(state).exit_code is ExitCode.OK
        assert do_revert(state).exit_code is ExitCode.OK
        assert bans(control) == str(own)


def test_irqbalance_that_was_restarted_forgot_our_bans(state: Path) -> None:
    target = vectors_of(TOOL_NIC)[1]
    irq = vector.find_irq(Kernel(), target)
    with masks_kept(), irqbalance_running():
        do_apply(state, plan(change(KnobKind.IRQBALANCE_BANS, "", str(irq)), moved(target)))
    with masks_kept(), irqbalance_running() as control:
        assert look(state).items[-1].condition is Condition.GONE
        undone = do_revert(state)
        assert undone.restorations[-1].outcome == "died"
        assert bans(control) == ""
