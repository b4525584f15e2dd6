# SPDX-License-Identifier: GPL-2.0-only
"""CPU topology: online, SMT siblings, L3, NUMA node, core type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.host.cpusets import read_partitions
from agenttune.host.host import Cpu, Topology
from agenttune.host.tree import Tree

_Group = TypeVar("_Group")

_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"


def read_topology(tree: Tree) -> Topology:
    """The present CPUs, offline ones too. Raises HostError when the tree names no CPU."""
    present = tree.numbers(_CPU, "cpu")
    if not present:
        raise HostError(
            f"{tree.path(_CPU)}: no CPU is listed",
            hint="Give --root the folder that holds the host's proc and sys folders.",
        )
    online = _online(tree, present)
    siblings = _shared(tree, online, _siblings_of)
    l3 = _shared(tree, online, _l3_of)
    nodes = _by_cpu(_node_masks(tree))
    types = _by_cpu(_type_masks(tree))
    _note_gaps(tree, online, siblings, nodes)
    return Topology(
        cpus=tuple(
            Cpu(
                cpu=cpu,
                online=cpu in online,
                core=_topology_id(tree, cpu, "core_id"),
                package=_topology_id(tree, cpu, "physical_package_id"),
                node=nodes.get(cpu),
                siblings=siblings.get(cpu),
                l3=l3.get(cpu),
                core_type=types.get(cpu),
            )
            for cpu in present
        ),
        online=online,
        possible=tree.mask_list(f"{_CPU}/possible"),
        isolated=_boot_mask(tree, "isolated"),
        nohz_full=_boot_mask(tree, "nohz_full"),
        partitions=read_partitions(tree),
    )


def _online(tree: Tree, present: list[int]) -> CpuMask:
    """Old kernels have no list; there, a CPU without an 'online' file cannot go down."""
    listed = tree.mask_list(f"{_CPU}/online")
    if listed is not None:
        return listed
    return CpuMask.of(cpu for cpu in present if tree.number(f"{_CPU}/cpu{cpu}/online") != 0)


def _shared(
    tree: Tree, online: CpuMask, read: Callable[[Tree, int], CpuMask | None]
) -> dict[int, CpuMask]:
    """A mask that every CPU in it shares, by CPU: read once for all of them."""
    masks: dict[int, CpuMask] = {}
    for cpu in online:
        if cpu not in masks and (mask := read(tree, cpu)):
            masks.update(dict.fromkeys(mask, mask))
    return masks


def _siblings_of(tree: Tree, cpu: int) -> CpuMask | None:
    folder = f"{_CPU}/cpu{cpu}/topology"
    listed = tree.mask_list(f"{folder}/thread_siblings_list")
    return listed if listed is not None else tree.mask_hex(f"{folder}/thread_siblings")


def _l3_of(tree: Tree, cpu: int) -> CpuMask | None:
    folder = f"{_CPU}/cpu{cpu}/cache"
    for index in reversed(tree.numbers(folder, "index")):
        cache = f"{folder}/index{index}"
        if tree.number(f"{cache}/level") == 3:
            listed = tree.mask_list(f"{cache}/shared_cpu_list")
            return listed if listed is not None else tree.mask_hex(f"{cache}/shared_cpu_map")
    return None


def _topology_id(tree: Tree, cpu: int, name: str) -> int | None:
    """A topology number; -1 is the kernel's own word for unknown."""
    number = tree.number(f"{_CPU}/cpu{cpu}/topology/{name}")
    return None if number is None or number < 0 else number


def _node_masks(tree: Tree) -> dict[int, CpuMask]:
    masks = {}
    for node in tree.numbers(_NODE, "node"):
        listed = tree.mask_list(f"{_NODE}/node{node}/cpulist")
        mask = listed if listed is not None else tree.mask_hex(f"{_NODE}/node{node}/cpumap")
        if mask is not None:
            masks[node] = mask
    return masks


def _type_masks(tree: Tree) -> dict[str, CpuMask]:
    """Hybrid CPUs by the name of their PMU: 'core', 'atom', 'lowpower'.

    arch/x86/events/intel/core.c (v6.12) registers cpu_core and cpu_atom on hybrid CPUs only.
    """
    masks = {}
    for name in tree.names("/sys/devices"):
        if name.startswith("cpu_") and (mask := tree.mask_list(f"/sys/devices/{name}/cpus")):
            masks[name.removeprefix("cpu_")] = mask
    return masks


def _by_cpu(masks: Mapping[_Group, CpuMask]) -> dict[int, _Group]:
    return {cpu: group for group, mask in masks.items() for cpu in mask}


def _boot_mask(tree: Tree, name: str) -> CpuMask | None:
    mask = tree.mask_list(f"{_CPU}/{name}")
    if mask is None:
        tree.note(f"{name} CPUs", f"no readable {_CPU}/{name}")
    return mask


def _note_gaps(
    tree: Tree, online: CpuMask, siblings: Mapping[int, CpuMask], nodes: Mapping[int, int]
) -> None:
    lone = online - CpuMask.of(siblings)
    if lone:
        tree.note(f"SMT siblings of CPU {lone}", "no readable topology/thread_siblings_list")
    homeless = online - CpuMask.of(nodes)
    if homeless:
        tree.note(f"NUMA node of CPU {homeless}", f"no readable cpulist below {_NODE}")
    if not any(tree.exists(f"{_CPU}/cpu{cpu}/cache") for cpu in online):
        tree.note("L3 caches", f"no {_CPU}/cpuN/cache")
