# SPDX-License-Identifier: GPL-2.0-only
"""The guest is what vm/README.md says it is."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from vm.lab import machine
from vm.scene import interfaces

pytestmark = pytest.mark.guest

PCI = Path("/sys/bus/pci/devices")


def test_kernel(guest_facts: dict[str, str]) -> None:
    assert platform.release().startswith(f"{guest_facts['kernel']}.")
    assert os.cpu_count() == machine.CPUS


@pytest.mark.iommu
def test_interrupt_remapping(guest_facts: dict[str, str]) -> None:
    remapped = "IR-PCI-MSI" in Path("/proc/interrupts").read_text()
    assert remapped == (guest_facts["iommu"] == "yes")


@pytest.mark.parametrize(
    "address", [machine.AGENT_NIC, machine.TOOL_NIC, machine.FLOOD_NIC, machine.SOURCE_NIC]
)
def test_virtio_nics_have_a_vector_per_direction(address: str) -> None:
    actions = [name.partition("-")[2] for name in interfaces.vectors(address).values()]
    assert actions == ["config", "input.0", "output.0"]


def test_multiqueue_nics_have_a_vector_per_queue() -> None:
    for address, network in (
        (machine.MULTIQUEUE_NIC, "10.77.2.1/24"),
        (machine.MULTIQUEUE_PEER, "10.77.2.2/24"),
    ):
        with interfaces.addressed(address, network):
            name = interfaces.interface(address)
            queues = [f"{name}-rxtx-{queue}" for queue in range(4)]
            assert list(interfaces.vectors(address).values()) == [*queues, f"{name}-event-4"]


def test_disks_have_a_managed_vector_per_cpu() -> None:
    nvme = interfaces.vectors(machine.NVME_DISK)
    assert list(nvme.values()) == [f"nvme0q{queue}" for queue in range(5)]
    virtio = [name.partition("-")[2] for name in interfaces.vectors(machine.VIRTIO_DISK).values()]
    assert virtio == ["config", *(f"req.{queue}" for queue in range(machine.CPUS))]
    managed = [irq for irq, name in nvme.items() if name != "nvme0q0"]
    assert sorted(interfaces.affinity(irq) for irq in managed) == ["0", "1", "2", "3"]


def test_state_is_the_guests_own() -> None:
    mounts = Path("/proc/mounts").read_text()
    for directory in ("/run", "/tmp", "/var/tmp", "/var/lib/agenttune"):
        assert f" {directory} tmpfs " in mounts


def test_nothing_leads_outside() -> None:
    """Every NIC is one of the six on hubs: the guest has no way to another machine."""
    nics = {path.resolve() for path in Path("/sys/class/net").glob("*/device")}
    addresses = {next(part for part in reversed(nic.parts) if ":" in part) for nic in nics}
    assert addresses <= {
        *(machine.AGENT_NIC, machine.TOOL_NIC, machine.FLOOD_NIC, machine.SOURCE_NIC),
        *(machine.MULTIQUEUE_NIC, machine.MULTIQUEUE_PEER),
    }
