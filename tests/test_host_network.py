# SPDX-License-Identifier: GPL-2.0-only
"""Interfaces, queues, steering masks, sysctls."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import hex_mask, make_tree

from agenttune.host import napi, network
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Napi, NetInterface, NetQueue
from agenttune.host.napi import NapiTable, read_napis
from agenttune.host.network import read_interfaces, read_sysctls
from agenttune.host.tree import Tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_tree(tmp_path, cpus=40, nics=1, queues=2, nvme=0)
    return tmp_path


def queue_file(root: Path, name: str) -> Path:
    return root / f"sys/class/net/eth0/queues/{name}"


def test_an_interface_in_full(root: Path) -> None:
    queue_file(root, "rx-1/rps_cpus").write_text(hex_mask(CpuMask.of([0, 39]), 40) + "\n")
    (found,) = read_interfaces(Tree(root))
    evens, odds = CpuMask.of(range(0, 40, 2)), CpuMask.of(range(1, 40, 2))
    assert found == NetInterface(
        name="eth0",
        ifindex=2,
        device="0000:01:00.0",
        driver="ixgbe",
        queues=(
            NetQueue("rx", 0, CpuMask()),
            NetQueue("rx", 1, CpuMask.of([0, 39])),
            NetQueue("tx", 0, evens),
            NetQueue("tx", 1, odds),
        ),
        napis=None,
        threaded=False,
    )


def test_a_queue_without_steering_is_none_not_empty(root: Path) -> None:
    queue_file(root, "tx-0/xps_cpus").unlink()
    (found,) = read_interfaces(Tree(root))
    assert [q.steering for q in found.queues if (q.direction, q.index) == ("tx", 0)] == [None]


def test_a_virtual_interface_and_a_plain_file(root: Path) -> None:
    folder = root / "sys/devices/virtual/net/lo"
    folder.mkdir(parents=True)
    (folder / "ifindex").write_text("1\n")
    (root / "sys/class/net/lo").symlink_to("../../devices/virtual/net/lo")
    (root / "sys/class/net/bonding_masters").write_text("\n")
    names = {i.name: (i.device, i.driver, i.threaded) for i in read_interfaces(Tree(root))}
    assert names == {"eth0": ("0000:01:00.0", "ixgbe", False), "lo": (None, None, None)}


def test_napi_instances_join_their_queues(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Napi(napi_id=514, irq=24)
    table = NapiTable({2: (one,)}, {(2, "rx", 1): 514})
    monkeypatch.setattr(network, "read_napis", lambda tree: table)
    (found,) = read_interfaces(Tree(root))
    assert found.napis == (one,)
    assert [q.napi_id for q in found.queues] == [None, 514, None, None]


def test_a_recording_has_no_netlink(root: Path) -> None:
    tree = Tree(root)
    assert read_napis(tree) is None
    assert any("NAPI" in line for line in tree.unknown())


def test_a_kernel_without_the_family_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(Path("/"))
    monkeypatch.setattr(napi, "_FAMILY", "agt-no-family")
    assert read_napis(tree) is None
    (line,) = tree.unknown()
    assert line.startswith("NAPI instances: ")
    assert "No such file" in line


def test_a_kernel_without_the_operation_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(Path("/"))
    monkeypatch.setattr(napi, "_FAMILY", "nlctrl")
    monkeypatch.setattr(napi, "_NAPI_GET", 200)
    assert read_napis(tree) is None
    assert len(tree.unknown()) == 1


def test_sysctls(root: Path) -> None:
    assert read_sysctls(Tree(root)) == {
        "net.core.netdev_budget": 300,
        "net.core.netdev_budget_usecs": 8000,
        "net.core.dev_weight": 64,
    }


def test_a_missing_sysctl_is_left_out_and_named(root: Path) -> None:
    (root / "proc/sys/net/core/netdev_budget_usecs").unlink()
    tree = Tree(root)
    values = read_sysctls(tree)
    assert values is not None
    assert set(values) == {"net.core.netdev_budget", "net.core.dev_weight"}
    assert any("netdev_budget_usecs" in line for line in tree.unknown())
