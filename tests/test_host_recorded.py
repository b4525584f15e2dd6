# SPDX-License-Identifier: GPL-2.0-only
"""The four recorded hosts: values taken from the raw files by other means.

The expected topologies follow the archive's own console output (hwloc's lstopo) and lscpu's
expected output, not this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agenttune.host.capture import read_host
from agenttune.host.host import Host, Movability

OFFLINES = "16em64t-4s2c2t-offlines"
HYBRID = "20em64t-hybrid-1p6c2t+2ca4co1t"
TWO_SOCKETS = "32intel64-2p8co2t+8ve"
LAPTOP = "x86_64-64cpu-linux6.2"


@pytest.fixture(scope="module")
def hosts(recorded_hosts: Mapping[str, Path]) -> dict[str, Host]:
    return {name: read_host(root) for name, root in recorded_hosts.items()}


def table(host: Host, field: str) -> dict[int, str]:
    """A field of each online CPU, as text."""
    return {cpu.cpu: str(getattr(cpu, field)) for cpu in host.topology.cpus if cpu.online}


def test_there_are_four(hosts: dict[str, Host]) -> None:
    assert set(hosts) == {OFFLINES, HYBRID, TWO_SOCKETS, LAPTOP}


def test_four_packages_with_offline_cpus(hosts: dict[str, Host]) -> None:
    topology = hosts[OFFLINES].topology
    assert str(topology.online) == "0-1,3-4,6-12,15"
    assert [cpu.cpu for cpu in topology.cpus] == list(range(16))
    # lstopo: '4 processors not represented in topology: 0x00006024'.
    assert [cpu.cpu for cpu in topology.cpus if not cpu.online] == [2, 5, 13, 14]
    pairs = {0: "0,8", 1: "1,9", 3: "3,11", 4: "4,12", 6: "6", 7: "7,15"}
    pairs |= {8: "0,8", 9: "1,9", 10: "10", 11: "3,11", 12: "4,12", 15: "7,15"}
    assert table(hosts[OFFLINES], "siblings") == pairs
    caches = dict.fromkeys((0, 4, 8, 12), "0,4,8,12") | dict.fromkeys((1, 9), "1,9")
    caches |= dict.fromkeys((3, 7, 11, 15), "3,7,11,15") | dict.fromkeys((6, 10), "6,10")
    assert table(hosts[OFFLINES], "l3") == caches
    assert table(hosts[OFFLINES], "package") == {cpu: str(cpu % 4) for cpu in pairs}
    assert table(hosts[OFFLINES], "node") == dict.fromkeys(pairs, "0")


def test_an_offline_cpu_has_no_neighbours(hosts: dict[str, Host]) -> None:
    two = hosts[OFFLINES].topology.cpus[2]
    assert (two.core, two.package, two.siblings, two.l3) == (None, None, None, None)


def test_hybrid_cores(hosts: dict[str, Host]) -> None:
    host = hosts[HYBRID]
    assert str(host.topology.online) == str(host.topology.possible) == "0-19"
    paired = {cpu: f"{cpu & ~1}-{cpu | 1}" for cpu in range(12)}
    assert table(host, "siblings") == paired | {cpu: str(cpu) for cpu in range(12, 20)}
    cores = {cpu: str(cpu // 2 * 4) for cpu in range(12)}
    assert table(host, "core") == cores | {cpu: str(cpu + 12) for cpu in range(12, 20)}
    assert set(table(host, "l3").values()) == {"0-19"}
    # Neither cpu_core nor cpu_atom was recorded: the kind of core is unknown, not guessed.
    assert set(table(host, "core_type").values()) == {"None"}
    assert host.kernel == "6.1.0-13-amd64"


def test_two_packages_with_siblings_sixteen_apart(hosts: dict[str, Host]) -> None:
    host = hosts[TWO_SOCKETS]
    assert str(host.topology.online) == "0-31"
    assert str(host.topology.possible) == "0-111"
    assert len(host.topology.cpus) == 32
    assert table(host, "siblings") == {c: f"{c % 16},{c % 16 + 16}" for c in range(32)}
    first = {cpu: cpu % 16 < 8 for cpu in range(32)}
    assert table(host, "l3") == {
        cpu: "0-7,16-23" if first[cpu] else "8-15,24-31" for cpu in range(32)
    }
    assert table(host, "node") == {cpu: "0" if first[cpu] else "1" for cpu in range(32)}
    assert table(host, "package") == table(host, "node")
    assert table(host, "core") == {cpu: str(cpu % 8) for cpu in range(32)}
    assert host.kernel == "3.10.0-1160.15.2.el7.x86_64"
    # That kernel prints an empty mask as one NUL.
    assert host.topology.nohz_full is not None
    assert not host.topology.nohz_full


def test_recorded_vectors_without_names(hosts: dict[str, Host]) -> None:
    host = hosts[TWO_SOCKETS]
    by_driver: dict[str | None, int] = {}
    for vector in host.vectors:
        by_driver[vector.driver] = by_driver.get(vector.driver, 0) + 1
    # 'ls msi_irqs | wc -l' of each device.
    assert by_driver == {"pcieport": 13, "mlx5_core": 36 + 36, "i40e": 99 + 99}
    one = next(v for v in host.vectors if v.interface == "enp96s0f0")
    assert (one.key.device, one.node, one.key.entry) == ("0000:60:00.0", 0, 0)
    assert {v.movability for v in host.vectors} == {Movability.UNKNOWN}
    assert {(v.affinity, v.effective, v.counts) for v in host.vectors} == {(None, None, None)}
    assert [(i.name, i.device, i.driver) for i in host.interfaces] == [
        ("enp96s0f0", "0000:60:00.0", "i40e"),
        ("enp96s0f1", "0000:60:00.1", "i40e"),
    ]


def test_one_package_with_siblings_four_apart(hosts: dict[str, Host]) -> None:
    host = hosts[LAPTOP]
    assert str(host.topology.online) == "0-7"
    # lscpu's '# CPU,Core,Socket,Node' table.
    assert table(host, "core") == {cpu: str(cpu % 4) for cpu in range(8)}
    assert table(host, "siblings") == {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
    assert set(table(host, "package").values()) == set(table(host, "node").values()) == {"0"}
    assert set(table(host, "l3").values()) == {"0-7"}
    assert host.topology.nohz_full is not None


def test_what_was_not_recorded_is_unknown(hosts: dict[str, Host]) -> None:
    for host in hosts.values():
        assert not host.live
        assert host.boot_id is None
        assert host.softirqs is host.softnet is host.sysctls is host.default_affinity is None
        assert host.topology.partitions is None
        assert host.agents == ()
        assert host.writers == ()
        told = "\n".join(host.unknown)
        for word in (
            "interrupt counts",
            "boot id",
            "softirq",
            "softnet",
            "partitions",
            "processes",
        ):
            assert word in told
        assert len(host.unknown) == len(set(host.unknown)) < 25
