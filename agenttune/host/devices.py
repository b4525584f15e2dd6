# SPDX-License-Identifier: GPL-2.0-only
"""PCI devices: driver, NUMA node, MSI interrupts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from agenttune.host.tree import Tree

_PCI = "/sys/bus/pci/devices"
# Domain, bus, device, function; Hyper-V and VMD make domains of more than four digits.
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]")


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One PCI function. `irqs` are its MSI interrupts, ascending, none when it uses no MSI.

    `driver` is the driver of the function behind a virtio transport: virtio_net, not virtio-pci.
    """

    address: str
    driver: str | None
    node: int | None
    irqs: tuple[int, ...]


def read_pci_devices(tree: Tree) -> tuple[PciDevice, ...]:
    """All PCI functions by address."""
    addresses = tree.names(_PCI)
    if not addresses and not tree.exists(_PCI):
        tree.note("PCI devices", f"no {_PCI}")
    return tuple(_read_device(tree, address) for address in addresses)


def driver_of(tree: Tree, folder: str) -> str | None:
    """The name of the driver bound to the device at `folder`."""
    target = tree.link(f"{folder}/driver")
    return PurePosixPath(target).name if target else None


def pci_address_in(text: str) -> str | None:
    """The innermost PCI address of a device path or a chip name."""
    found = _ADDRESS.findall(text)
    return found[-1] if found else None


def pci_address_of(tree: Tree, class_path: str) -> str | None:
    """The PCI device of a class entry such as '/sys/class/net/eth0', None for a virtual one."""
    for link in (tree.link(class_path), tree.link(f"{class_path}/device")):
        address = pci_address_in(link) if link else None
        if address:
            return address
    return None


def _read_device(tree: Tree, address: str) -> PciDevice:
    folder = f"{_PCI}/{address}"
    node = tree.number(f"{folder}/numa_node")
    return PciDevice(
        address=address,
        driver=_function_driver(tree, folder),
        # -1: the firmware did not say.
        node=None if node is None or node < 0 else node,
        irqs=tuple(tree.numbers(f"{folder}/msi_irqs")),
    )


def _function_driver(tree: Tree, folder: str) -> str | None:
    driver = driver_of(tree, folder)
    if driver != "virtio-pci":
        return driver
    for child in tree.numbers(folder, "virtio"):
        return driver_of(tree, f"{folder}/virtio{child}") or driver
    return driver
