# SPDX-License-Identifier: GPL-2.0-only
"""Placement by the module, judged by where interrupts land and by /proc/irq alone."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from client import SYSCTLS, opened, set_sysctl
from debug_kernel import paced, slow
from loading import KernelModule
from placement_state import (
    IRQS,
    effective,
    head,
    landed,
    lines,
    masks,
    placing,
    total,
    vector,
    virtio_put_right,
    wait_windows,
    windows_until,
)

from vm.lab.machine import (
    AGENT_NIC,
    CPUS,
    FLOOD_NIC,
    NVME_DISK,
    SOURCE_NIC,
    TOOL_NIC,
    VIRTIO_DISK,
)
from vm.scene import interfaces
from vm.scene.scene import Cast, Scene, flooding, playing

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

SETTLE, REST = 3, 10
# Beyond the hysteresis: the window under way, the interrupt that a move waits for, and the reading.
SLACK = 4
NICS = (AGENT_NIC, TOOL_NIC, FLOOD_NIC, SOURCE_NIC)


@pytest.fixture(scope="module")
def scene(module: KernelModule) -> Iterator[Scene]:
    """Round trips over NIC A, its vectors on CPU 1; the tool and its NIC on CPU 2."""
    with playing(Cast(agent_cpu=0, interrupts_cpu=1, flooded=False, seconds=paced(900.0))) as scene:
        yield scene


@pytest.fixture(autouse=True)
def nothing_left(module: KernelModule) -> Iterator[None]:
    """Every mask of the machine is after each test what it was before."""
    before = masks()
    yield
    after = masks()
    assert {irq: after.get(irq) for irq in before} == before


def pin(scene: Scene, *cpus: int) -> None:
    os.sched_setaffinity(scene.agent.pid, set(cpus))


@contextmanager
def attached(scene: Scene, cpu: int) -> Iterator[None]:
    """The scene's agent on `cpu`, attached to the module."""
    pin(scene, cpu)
    with opened() as client:
        client.attach(scene.agent.pid)
        yield


def named(address: str, ending: str) -> int:
    return next(irq for irq, name in interfaces.vectors(address).items() if name.endswith(ending))


def inputs() -> list[int]:
    """The receive vectors of the NICs that carry the round trips."""
    return [named(AGENT_NIC, "input.0"), named(TOOL_NIC, "input.0")]


def movable() -> list[int]:
    return [irq for address in NICS for irq in interfaces.vectors(address)]


def landed_apart(cpu: int) -> dict[int, set[int]]:
    """Where the NICs' interrupts land in a second; fails when one lands on `cpu`.

    The first one after a move is still the old CPU's, and an output vector may wait long for it.
    """
    waiting = {irq for irq in movable() if effective(irq) == str(cpu)}
    where = landed(movable(), 1.0)
    for irq, cpus in where.items():
        assert effective(irq) != str(cpu) or not cpus, where
        assert cpu not in cpus or irq in waiting, where
    return {irq: cpus for irq, cpus in where.items() if cpus}


def managed() -> list[int]:
    """The queues of both disks; entry 0 of each is not managed."""
    found = []
    for address in (NVME_DISK, VIRTIO_DISK):
        numbers = sorted(interfaces.vectors(address))
        found += numbers[1:]
    return found


def read_disks() -> None:
    for path in (Path("/dev/nvme0n1"), Path("/dev/vda")):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        os.close(descriptor)
        os.posix_fadvise(file := os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(file, 1 << 16, 0)
        os.close(file)


@pytest.mark.iommu
def test_away_follows_the_agent_over_every_cpu(scene: Scene) -> None:
    irqs = inputs()
    with attached(scene, 0), placing("away"):
        wait_windows(SETTLE + SLACK)
        for cpu in range(CPUS):
            wait_windows(REST)
            pin(scene, cpu)
            passed = windows_until(
                lambda cpu=cpu: all(effective(irq) != str(cpu) for irq in irqs), SETTLE + SLACK
            )
            where = landed_apart(cpu)
            assert all(where[irq] for irq in irqs), "no traffic"
            print(f"away: agent on CPU {cpu}, {passed} windows, {where}")


@pytest.mark.iommu
def test_same_follows_the_agent_over_every_cpu(scene: Scene) -> None:
    ours, other = inputs()
    with attached(scene, 0), placing("same"):
        wait_windows(SETTLE + SLACK)
        for cpu in range(CPUS):
            wait_windows(REST)
            pin(scene, cpu)
            passed = windows_until(lambda cpu=cpu: effective(ours) == str(cpu), SETTLE + SLACK)
            where = landed([ours, other], 1.0)
            assert where == {ours: {cpu}, other: {2}}, "only what completes for the agent moves"
            print(f"same: agent on CPU {cpu}, {passed} windows, {where}")


@pytest.mark.thorough
@pytest.mark.iommu
def test_near_keeps_beside_the_agent(scene: Scene) -> None:
    """All CPUs of the guest are one node with one cache: near is any other than the agent's."""
    irqs = inputs()
    with attached(scene, 0), placing("near"):
        wait_windows(SETTLE + SLACK)
        for cpu in (1, 3, 2):
            wait_windows(REST)
            pin(scene, cpu)
            passed = windows_until(
                lambda cpu=cpu: all(effective(irq) != str(cpu) for irq in irqs), SETTLE + SLACK
            )
            where = landed_apart(cpu)
            print(f"near: agent on CPU {cpu}, {passed} windows, {where}")


def test_a_noisy_cpu_of_the_agent_is_left(scene: Scene) -> None:
    """CPU 1 has a flood's interrupts, some other CPU hardly any: a limit goes between."""
    ours = inputs()[0]
    # One that leaves the agent some answers: an interrupt without any is soon nobody's.
    flood = Cast(seconds=paced(120.0), pause_us=150_000 if slow() else 2000)
    with flooding(flood), attached(scene, 1), placing("same"):
        wait_windows(REST)
        assert effective(ours) == "1"
        noise = mean_noise(REST)
        quietest = min(noise[cpu] for cpu in (0, 2, 3))
        assert noise[1] > 1.5 * quietest, noise
        set_sysctl("placement_quiet_pct", round((noise[1] + quietest) / 2))
        away = windows_until(lambda: effective(ours) != "1", 2 * REST)
        set_sysctl("placement_quiet_pct", 100)
        most = SETTLE + REST + SETTLE + SLACK
        back = windows_until(lambda: effective(ours) == "1", most)
        print(f"same: noise {noise}, left after {away} windows, back after {back}")


def mean_noise(count: int) -> dict[int, float]:
    """CPU → its mean noise over so many windows, in percent."""
    found: dict[int, list[float]] = {cpu: [] for cpu in range(CPUS)}
    for _ in range(count):
        wait_windows(1)
        for line in lines():
            if "noise_pct" in line:
                found[int(line["cpu"])].append(float(line["noise_pct"]))
    return {cpu: round(sum(each) / len(each), 1) for cpu, each in found.items()}


@pytest.mark.iommu
def test_each_way_out_restores(scene: Scene, module: KernelModule) -> None:
    irq = inputs()[0]
    before = masks()
    with placing("away"):
        with attached(scene, 1):
            windows_until(lambda: effective(irq) != "1", SETTLE + SLACK)
            assert masks() != before
            set_sysctl("placement", "off")
            assert masks() == before, "turning it off is done when the write returns"
            set_sysctl("placement", "away")
            windows_until(lambda: masks()[irq] != before[irq], SETTLE + SLACK)
        # The last thread was detached with its file.
        deadline = time.monotonic() + 20
        while masks() != before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert masks() == before
        assert head()["running"] == 0
        set_sysctl("agent_cpus", "1")
        windows_until(lambda: masks()[irq] != before[irq], SETTLE + SLACK)
        module.unload()
        assert masks() == before
        module.load()


@pytest.mark.thorough
@pytest.mark.iommu
def test_managed_vectors_are_never_touched(scene: Scene) -> None:
    irqs = managed()
    assert len(irqs) >= CPUS
    before = {irq: (masks()[irq], effective(irq)) for irq in irqs}
    with attached(scene, 0), placing("away"):
        for cpu in range(CPUS):
            pin(scene, cpu)
            for _ in range(4):
                read_disks()
                wait_windows(2)
                assert {irq: (masks()[irq], effective(irq)) for irq in irqs} == before
        assert all(vector(irq)["state"] == "managed" for irq in irqs)
        assert all(vector(irq)["moves"] == "0" for irq in irqs)


@pytest.mark.iommu
def test_another_writer_wins(scene: Scene) -> None:
    irq = inputs()[0]
    found = interfaces.affinity(irq)
    counted = total("foreign")
    with placing("away"):
        with attached(scene, 1):
            windows_until(lambda: effective(irq) != "1", SETTLE + SLACK)
            interfaces.place(irq, "0-1")
            wait_windows(REST + SETTLE + SLACK)
            assert interfaces.affinity(irq) == "0-1"
            assert total("foreign") == counted + 1
            assert vector(irq)["state"] == "foreign"
        deadline = time.monotonic() + 20
        while head()["running"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert head()["running"] == 0
        assert interfaces.affinity(irq) == "0-1", "what is the other's is not restored"
    interfaces.place(irq, found)


@pytest.mark.thorough
def test_an_agent_that_hops_moves_nothing(scene: Scene) -> None:
    """It is elsewhere at the end of each window."""
    before = masks()
    with attached(scene, 0), placing("away", window_ms=1000):
        for hop in range(12):
            pin(scene, hop % CPUS)
            wait_windows(1)
        assert masks() == before


@pytest.mark.thorough
def test_the_rate_limit_holds(scene: Scene) -> None:
    """An agent that stays just long enough on each CPU for its vectors to follow."""
    irq = inputs()[0]
    seen = [masks()[irq]]
    with attached(scene, 1), placing("same"):
        begun = int(head()["windows"])
        for turn in range(12):
            pin(scene, 1 + turn % 3)
            for _ in range(SETTLE + 1):
                wait_windows(1)
                if masks()[irq] != seen[-1]:
                    seen.append(masks()[irq])
        passed = int(head()["windows"]) - begun
        print(f"rate limit: {len(seen) - 1} moves in {passed} windows")
        assert 2 <= len(seen) - 1 <= passed // REST + 1
        assert vector(irq)["moves"] == str(len(seen) - 1)


@contextmanager
def named_cpu(cpu: str) -> Iterator[None]:
    """An agent CPU without an agent."""
    set_sysctl("agent_cpus", cpu)
    try:
        yield
    finally:
        set_sysctl("agent_cpus", "")


@contextmanager
def offline(cpu: str) -> Iterator[None]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/online")
    path.write_text("0")
    try:
        yield
    finally:
        path.write_text("1")


def poke_nvme_until(irq: int, cpu: str) -> None:
    """Admin commands, whose queue has a vector that is not managed: a move waits for interrupts."""
    deadline = time.monotonic() + 20
    while effective(irq) != cpu:
        assert time.monotonic() < deadline, f"interrupt {irq} does not come to CPU {cpu}"
        Path("/sys/class/nvme/nvme0/rescan_controller").write_text("1")
        time.sleep(0.3)


def test_a_cpu_that_goes_offline_takes_nothing_along(module: KernelModule) -> None:
    irq = min(interfaces.vectors(NVME_DISK))
    found = interfaces.affinity(irq)
    interfaces.place(irq, "1")
    poke_nvme_until(irq, "1")
    try:
        # CPU 0 cannot go offline, so it must not be chosen.
        with virtio_put_right(), placing("away"), named_cpu("0-1"):
            windows_until(lambda: interfaces.affinity(irq) != "1", SETTLE + SLACK)
            target = interfaces.affinity(irq)
            poke_nvme_until(irq, target)
            with offline(target):
                assert interfaces.affinity(irq) == "1"
                windows_until(lambda: interfaces.affinity(irq) != "1", REST + SETTLE + SLACK)
                assert interfaces.affinity(irq) not in {"0", "1", target}
            assert vector(irq)["state"] != "foreign"
    finally:
        interfaces.place(irq, found)


@pytest.mark.parametrize("gap", [2, 0])
def test_a_number_given_to_another_vector_is_not_restored(module: KernelModule, gap: int) -> None:
    """A driver frees its vectors, and gets the same numbers again, with default masks."""
    irq = min(interfaces.vectors(VIRTIO_DISK))
    device = next(Path("/sys/bus/pci/devices").glob(f"{VIRTIO_DISK}/virtio*")).name
    driver = Path("/sys/bus/virtio/drivers/virtio_blk")
    before = masks()[irq]
    counted = total("gone") + total("foreign")
    with placing("away", window_ms=500), named_cpu(effective(irq)):
        windows_until(lambda: masks()[irq] != before, SETTLE + SLACK)
        (driver / "unbind").write_text(device)
        if gap:
            wait_windows(gap)
        (driver / "bind").write_text(device)
        fresh = masks()[irq]
        assert fresh == before
        wait_windows(2)
        assert total("gone") + total("foreign") == counted + 1
        set_sysctl("agent_cpus", "")
        wait_for_idle()
        assert masks()[irq] == fresh


def wait_for_idle() -> None:
    deadline = time.monotonic() + 20
    while head()["running"]:
        assert time.monotonic() < deadline, "placement does not stop"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("placement", "nearby"),
        ("placement_window_ms", 9),
        ("placement_window_ms", 60001),
        ("placement_quiet_pct", 101),
    ],
)
def test_values_out_of_range_are_refused(module: KernelModule, name: str, value: object) -> None:
    before = (SYSCTLS / name).read_text()
    with pytest.raises(OSError) as refused:
        set_sysctl(name, value)
    assert refused.value.errno == errno.EINVAL
    assert (SYSCTLS / name).read_text() == before
    assert IRQS.exists()
