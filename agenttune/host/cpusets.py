# SPDX-License-Identifier: GPL-2.0-only
"""Cgroup v2 cpusets."""

from __future__ import annotations

import os

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import CpusetPartition
from agenttune.host.tree import Tree

_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")


def read_partitions(tree: Tree) -> tuple[CpusetPartition, ...] | None:
    """Partition roots, and members with CPUs of their own, in the tree's order.

    None when the tree has no cgroup v2 mount.
    """
    mount = next((m for m in _MOUNTS if tree.exists(f"{m}/cgroup.controllers")), None)
    if mount is None:
        tree.note("cpuset partitions", f"no cgroup v2 tree at {' or '.join(_MOUNTS)}")
        return None
    found: list[CpusetPartition] = []
    _walk(tree, mount, "", found)
    return tuple(found)


def _walk(tree: Tree, mount: str, cgroup: str, found: list[CpusetPartition]) -> None:
    """Visit each child that the cpuset controller reaches.

    A cgroup below one without the controller cannot have it either
    (Documentation/admin-guide/cgroup-v2.rst, v6.12, 'Top-down Constraint').
    """
    for child in _children(tree, mount + cgroup):
        path = f"{cgroup}/{child}"
        state = tree.read(f"{mount}{path}/cpuset.cpus.partition")
        if state is None:
            continue
        if state != "member" or tree.read(f"{mount}{path}/cpuset.cpus"):
            cpus = tree.mask_list(f"{mount}{path}/cpuset.cpus.effective")
            found.append(CpusetPartition(path, state, cpus or CpuMask()))
        _walk(tree, mount, path, found)


def _children(tree: Tree, folder: str) -> list[str]:
    try:
        with os.scandir(tree.path(folder)) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []
