# SPDX-License-Identifier: GPL-2.0-only
"""This machine: the inventory against the kernel's own files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agenttune import document
from agenttune.host.capture import read_host
from agenttune.host.host import Host, Movability
from agenttune.host.interrupts import Devices, read_interrupts
from agenttune.host.tree import Tree


def interrupts() -> dict[int, tuple[list[int], str]]:
    """Counts and actions of each device row that has a handler, by plain splitting."""
    lines = Path("/proc/interrupts").read_text().splitlines()
    cpus = len(lines[0].split())
    rows = {}
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        words = rest.split()
        actions = Path(f"/sys/kernel/irq/{number.strip()}/actions")
        if number.strip().isdigit() and actions.read_text().strip():
            rows[int(number)] = ([int(w) for w in words[:cpus]], actions.read_text().strip())
    return rows


@pytest.fixture(scope="module")
def host() -> Host:
    return read_host()


def test_vectors_are_the_device_rows(host: Host) -> None:
    found = {vector.irq: vector.key.action for vector in host.vectors}
    assert found == {irq: actions for irq, (_, actions) in interrupts().items()}
    assert found


def test_counts_lie_between_two_reads() -> None:
    order = list(read_host().topology.online)
    before = interrupts()
    vectors = read_host().vectors
    after = interrupts()
    for vector in vectors:
        assert vector.counts is not None
        for place, cpu in enumerate(order):
            count = vector.counts.get(cpu, 0)
            assert before[vector.irq][0][place] <= count <= after[vector.irq][0][place]


def test_rows_and_sysfs_give_the_same_identity(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are read for speed; sysfs is the plain form."""
    monkeypatch.setattr(Tree, "lines", lambda self, path: iter(()))
    vectors, arch = read_interrupts(Tree(Path("/")), Devices((), (), (), {}))
    assert arch == ()
    named = {v.irq: (v.chip, v.key.entry, v.key.action) for v in vectors}
    assert named == {v.irq: (v.chip, v.key.entry, v.key.action) for v in host.vectors}


def test_affinity_is_what_the_files_say(host: Host) -> None:
    for vector in host.vectors:
        folder = Path(f"/proc/irq/{vector.irq}")
        assert str(vector.affinity) == (folder / "smp_affinity_list").read_text().strip()
        assert vector.effective is not None
        assert vector.affinity is not None
        assert vector.effective


def test_msi_vectors_belong_to_their_device(host: Host) -> None:
    owned = {
        int(file.name): file.parent.parent
        for file in Path("/sys/bus/pci/devices").glob("*/msi_irqs/*")
    }
    for vector in host.vectors:
        if vector.irq in owned:
            folder = owned[vector.irq]
            assert vector.key.device == folder.name
            drivers = [folder / "driver", *folder.glob("virtio*/driver")]
            assert vector.driver == drivers[-1].resolve().name
        else:
            assert vector.key.device == vector.chip


def test_closed_files_are_never_movable(host: Host) -> None:
    for vector in host.vectors:
        mode = Path(f"/proc/irq/{vector.irq}/smp_affinity_list").stat().st_mode
        if not mode & 0o200:
            assert vector.movability in (Movability.MANAGED, Movability.PER_CPU)


def test_topology_is_what_the_process_sees(host: Host) -> None:
    assert len(host.topology.online) == os.cpu_count()
    assert {cpu.cpu for cpu in host.topology.cpus if cpu.online} == set(host.topology.online)
    for cpu in host.topology.cpus:
        assert cpu.siblings is None or cpu.cpu in cpu.siblings
        assert cpu.l3 is None or (cpu.siblings or cpu.l3) <= cpu.l3


def test_interfaces_are_those_of_sysfs(host: Host) -> None:
    folder = Path("/sys/class/net")
    assert {i.name for i in host.interfaces} == {p.parent.name for p in folder.glob("*/ifindex")}
    for interface in host.interfaces:
        queues = {f"{q.direction}-{q.index}" for q in interface.queues}
        assert queues == {p.name for p in (folder / interface.name / "queues").iterdir()}


def test_napi_instances_or_the_reason(host: Host) -> None:
    told = any(line.startswith("NAPI instances") for line in host.unknown)
    assert {i.napis is None for i in host.interfaces} == {told}
    for interface in host.interfaces:
        ids = {napi.napi_id for napi in interface.napis or ()}
        assert {q.napi_id for q in interface.queues} <= ids | {None}


def test_live_counters_and_settings(host: Host) -> None:
    assert host.live
    assert host.kernel == os.uname().release
    assert host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert host.softirqs is not None
    assert set(host.softirqs["TIMER"]) <= set(host.topology.online)
    assert host.softnet is not None
    assert [row.cpu for row in host.softnet] == list(host.topology.online)
    assert host.sysctls is not None
    budget = Path("/proc/sys/net/core/netdev_budget").read_text()
    assert host.sysctls["net.core.netdev_budget"] == int(budget)
    assert any(row.name == "LOC" and row.counts for row in host.arch_interrupts)


def test_the_unknown_is_short_and_readable(host: Host) -> None:
    assert len(host.unknown) < 12
    for line in host.unknown:
        assert ": " in line
        assert len(line) < 200


def test_the_snapshot_survives_json(host: Host) -> None:
    data = document.encode("host", host)
    assert document.decode("host", Host, data, "here") == host
