# SPDX-License-Identifier: GPL-2.0-only
"""Disks with their blk-mq hardware queues."""

from __future__ import annotations

from agenttune.host.cpumask import CpuMask
from agenttune.host.devices import pci_address_of
from agenttune.host.host import BlockDevice, BlockQueue
from agenttune.host.tree import Tree

_BLOCK = "/sys/block"


def read_blocks(tree: Tree) -> tuple[BlockDevice, ...]:
    """Disks that have queues or a PCI device; loop devices and their like have queues too."""
    if not tree.exists(_BLOCK):
        tree.note("disks", f"no {_BLOCK}")
    return tuple(
        BlockDevice(name, pci_address_of(tree, f"{_BLOCK}/{name}"), _queues(tree, name))
        for name in tree.names(_BLOCK)
    )


def _queues(tree: Tree, name: str) -> tuple[BlockQueue, ...] | None:
    """None for a disk without blk-mq, such as a device-mapper volume."""
    folder = f"{_BLOCK}/{name}/mq"
    if not tree.exists(folder):
        return None
    return tuple(
        BlockQueue(index, _cpu_list(tree, f"{folder}/{index}/cpu_list"))
        for index in tree.numbers(folder)
    )


def _cpu_list(tree: Tree, path: str) -> CpuMask | None:
    """'0, 1, 2': blk_mq_hw_sysfs_cpus_show() cuts it at one page (block/blk-mq-sysfs.c, v6.12)."""
    text = tree.read(path)
    if text is None or len(text) > 4000:
        return None
    try:
        return CpuMask.parse_list(text.replace(" ", ""))
    except ValueError:
        return None
