# SPDX-License-Identifier: GPL-2.0-only
"""Topology from generated trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trees import make_tree

from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.host.cpus import read_topology
from agenttune.host.cpusets import read_partitions
from agenttune.host.host import CpusetPartition
from agenttune.host.tree import Tree


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_tree(tmp_path, cpus=8, nodes=2, smt=2, l3=2, nics=0, nvme=0)
    return tmp_path


def test_nodes_caches_and_siblings(root: Path) -> None:
    tree = Tree(root)
    cpus = read_topology(tree).cpus
    assert [str(cpu.siblings) for cpu in cpus] == ["0,4", "1,5", "2,6", "3,7"] * 2
    assert [str(cpu.l3) for cpu in cpus] == ["0,4", "1,5", "2,6", "3,7"] * 2
    assert [cpu.node for cpu in cpus] == [0, 0, 1, 1] * 2
    assert [cpu.core for cpu in cpus] == [0, 1, 2, 3] * 2


def test_hybrid_core_types(root: Path) -> None:
    put(root / "sys/devices/cpu_core/cpus", "0-3\n")
    put(root / "sys/devices/cpu_atom/cpus", "4-7\n")
    types = [cpu.core_type for cpu in read_topology(Tree(root)).cpus]
    assert types == ["core"] * 4 + ["atom"] * 4


def test_isolated_and_nohz_full(root: Path) -> None:
    put(root / "sys/devices/system/cpu/isolated", "2-3\n")
    put(root / "sys/devices/system/cpu/nohz_full", "(null)\n")
    topology = read_topology(Tree(root))
    assert str(topology.isolated) == "2-3"
    assert topology.nohz_full == CpuMask()


def test_missing_files_are_unknown_and_named(root: Path) -> None:
    cpu = root / "sys/devices/system/cpu"
    (cpu / "nohz_full").unlink()
    (cpu / "cpu3/topology/thread_siblings_list").unlink()
    (cpu / "cpu7/topology/thread_siblings_list").unlink()
    shutil.rmtree(root / "sys/devices/system/node")
    for number in range(8):
        shutil.rmtree(cpu / f"cpu{number}/cache")
    tree = Tree(root)
    topology = read_topology(tree)
    assert topology.nohz_full is None
    assert topology.cpus[3].siblings is None
    assert str(topology.cpus[2].siblings) == "2,6"
    assert {(c.l3, c.node) for c in topology.cpus} == {(None, None)}
    told = "\n".join(tree.unknown())
    for what in ("nohz_full", "SMT siblings of CPU 3,7", "NUMA node of CPU 0-7", "L3 caches"):
        assert what in told


def test_a_damaged_mask_is_unknown_and_named(root: Path) -> None:
    put(root / "sys/devices/system/cpu/isolated", "2-x\n")
    tree = Tree(root)
    assert read_topology(tree).isolated is None
    assert any("2-x" in line for line in tree.unknown())


def test_a_folder_that_is_no_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        read_topology(Tree(tmp_path))
    assert "--root" in caught.value.hint


def cpuset(root: Path, group: str, state: str, effective: str, own: str = "") -> None:
    folder = root / "sys/fs/cgroup" / group
    put(folder / "cpuset.cpus.partition", state + "\n")
    put(folder / "cpuset.cpus.effective", effective + "\n")
    put(folder / "cpuset.cpus", own + "\n")


def test_partitions_at_any_depth(root: Path) -> None:
    put(root / "sys/fs/cgroup/cgroup.controllers", "cpuset cpu\n")
    cpuset(root, "plain.slice", "member", "0-7")
    cpuset(root, "plain.slice/agent", "isolated", "2-3", "2-3")
    cpuset(root, "b.slice", "isolated invalid (no cpu)", "4", "4")
    cpuset(root, "c.slice", "member", "5", "5")
    put(root / "sys/fs/cgroup/other.slice/deep/cpuset.cpus.partition", "root\n")
    assert read_partitions(Tree(root)) == (
        CpusetPartition("/b.slice", "isolated invalid (no cpu)", CpuMask.of([4])),
        CpusetPartition("/c.slice", "member", CpuMask.of([5])),
        CpusetPartition("/plain.slice/agent", "isolated", CpuMask.of([2, 3])),
    )


def test_hybrid_cgroup_mount(root: Path) -> None:
    put(root / "sys/fs/cgroup/unified/cgroup.controllers", "\n")
    assert read_partitions(Tree(root)) == ()


def test_no_cgroup_mount_is_unknown(root: Path) -> None:
    assert read_partitions(Tree(root)) is None
