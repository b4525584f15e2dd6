# SPDX-License-Identifier: GPL-2.0-only
"""The inventory in the guest: movability against what the kernel answers to a write."""

from __future__ import annotations

import errno
import os

import pytest

from agenttune.host.capture import read_host
from agenttune.host.host import Host, Movability, Vector
from vm.lab import machine
from vm.scene import interfaces

pytestmark = pytest.mark.guest

# The errno of a refused write: irq_affinity_proc_write(), kernel/irq/proc.c.
REFUSED = {"6.1": errno.EIO, "6.12": errno.EPERM}


@pytest.fixture(scope="module")
def host() -> Host:
    return read_host()


def answer(vector: Vector) -> int:
    """The errno of writing the vector's own mask back, 0 when the kernel takes it."""
    descriptor = os.open(f"/proc/irq/{vector.irq}/smp_affinity_list", os.O_WRONLY)
    try:
        os.write(descriptor, str(vector.affinity).encode())
    except OSError as error:
        return error.errno or -1
    finally:
        os.close(descriptor)
    return 0


def test_movability_is_what_a_write_meets(host: Host, guest_facts: dict[str, str]) -> None:
    refused = REFUSED[guest_facts["kernel"]]
    wanted = {v.irq: 0 if v.movability is Movability.MOVABLE else refused for v in host.vectors}
    assert {vector.irq: answer(vector) for vector in host.vectors} == wanted


def test_disk_queues_are_managed_and_no_other_vector_is(host: Host) -> None:
    managed = [v.key.action for v in host.vectors if v.movability is Movability.MANAGED]
    disk_queues = [v.key.action for v in host.vectors if v.block and v.queue is not None]
    assert managed == disk_queues
    assert len([action for action in managed if action.startswith("nvme0q")]) == machine.CPUS
    assert len([action for action in managed if "-req." in action]) == machine.CPUS
    assert {v.block for v in host.vectors if v.key.action in managed} == {"nvme0n1", "vda"}


def test_the_timer_is_fixed(host: Host) -> None:
    fixed = [v.key.action for v in host.vectors if v.movability is Movability.PER_CPU]
    assert fixed == ["timer"]


def test_msi_entries_are_the_tables_own(host: Host) -> None:
    """Entry 0 is the configuration vector of every virtio device."""
    nic = [v for v in host.vectors if v.key.device == machine.FLOOD_NIC]
    suffixes = [v.key.action.partition("-")[2] for v in nic]
    assert [(v.key.entry, s) for v, s in zip(nic, suffixes, strict=True)] == [
        (0, "config"),
        (1, "input.0"),
        (2, "output.0"),
    ]
    assert [(v.queue, v.direction) for v in nic] == [(None, None), (0, "rx"), (0, "tx")]
    assert {v.driver for v in nic} == {"virtio_net"}


def test_napi_instances_join_the_queues_of_an_interface_that_is_up(
    guest_facts: dict[str, str],
) -> None:
    with interfaces.addressed(machine.MULTIQUEUE_NIC, "10.77.2.1/24"):
        name = interfaces.interface(machine.MULTIQUEUE_NIC)
        host = read_host()
    (found,) = (i for i in host.interfaces if i.name == name)
    if guest_facts["kernel"] == "6.1":
        assert found.napis is None
        assert any(line.startswith("NAPI instances") for line in host.unknown)
    else:
        assert found.napis is not None
        assert len(found.napis) == 4
    queues = {(v.queue, v.direction) for v in host.vectors if v.interface == name}
    assert queues == {(None, None), *((queue, "rxtx") for queue in range(4))}
