# SPDX-License-Identifier: GPL-2.0-only
"""Vectors from generated trees: identity, owner, affinity, movability."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trees import FIRST_IRQ, make_tree

from agenttune.host.capture import read_host
from agenttune.host.host import Host, Movability, Vector, VectorKey


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_tree(tmp_path, cpus=8, nodes=2, nics=2, queues=2, nvme=1)
    return tmp_path


def vector(host: Host, action: str) -> Vector:
    (found,) = (v for v in host.vectors if v.key.action == action)
    return found


def open_all_files(root: Path) -> None:
    """Modes as kernels before 6.12 set them."""
    for file in root.glob("proc/irq/*/smp_affinity*"):
        file.chmod(0o644)


def rewrite_interrupts(root: Path, old: str, new: str) -> None:
    path = root / "proc/interrupts"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_nic_queue_is_known_in_full(root: Path) -> None:
    found = vector(read_host(root), "eth1-TxRx-1")
    assert found == Vector(
        irq=FIRST_IRQ + 4,
        key=VectorKey("0000:02:00.0", 1, "eth1-TxRx-1"),
        movability=Movability.MOVABLE,
        chip="PCI-MSIX-0000:02:00.0",
        driver="ixgbe",
        interface="eth1",
        queue=1,
        direction="rxtx",
        node=1,
        affinity=found.affinity,
        effective=found.effective,
        counts={5: 1028},
    )
    assert (str(found.affinity), str(found.effective)) == ("4-7", "5")


def test_nvme_queues_are_managed_and_named_by_blk_mq(root: Path) -> None:
    host = read_host(root)
    assert vector(host, "nvme0q0").movability is Movability.MOVABLE
    third = vector(host, "nvme0q3")
    assert (third.movability, third.queue, third.block) == (Movability.MANAGED, 2, "nvme0n1")
    assert host.blocks[0].queues is not None
    assert host.blocks[0].queues[2].cpus == third.affinity


def test_a_cpu_list_cut_at_one_page_is_unknown(root: Path) -> None:
    queue = root / "sys/block/nvme0n1/mq/0/cpu_list"
    queue.write_text(", ".join(str(cpu) for cpu in range(1024))[:4095] + "\n")
    queues = read_host(root).blocks[0].queues
    assert queues is not None
    assert queues[0].cpus is None
    assert queues[1].cpus is not None


def test_before_6_12_the_same_host_reads_the_same(root: Path) -> None:
    before = {v.key: v.movability for v in read_host(root).vectors}
    open_all_files(root)
    assert {v.key: v.movability for v in read_host(root).vectors} == before


def test_before_6_12_one_moved_vector_ends_the_proof(root: Path) -> None:
    """If any queue has no vector with its mask, the masks are not the kernel's."""
    open_all_files(root)
    (root / f"proc/irq/{vector(read_host(root), 'nvme0q1').irq}/smp_affinity_list").write_text(
        "5\n"
    )
    assert vector(read_host(root), "nvme0q2").movability is Movability.UNKNOWN


def test_identity_is_the_same_without_proc_interrupts(root: Path) -> None:
    keys = [v.key for v in read_host(root).vectors]
    (root / "proc/interrupts").unlink()
    host = read_host(root)
    assert [v.key for v in host.vectors] == keys
    assert {v.counts for v in host.vectors} == {None}
    assert any(line.startswith("interrupt counts") for line in host.unknown)


def test_identity_is_the_same_without_sysfs_facts(root: Path) -> None:
    vectors = read_host(root).vectors
    shutil.rmtree(root / "sys/kernel/irq")
    assert read_host(root).vectors == vectors


@pytest.mark.parametrize("chip", ["PCI-MSI", "IR-PCI-MSI"])
def test_before_6_2_the_index_is_in_the_low_bits(root: Path, chip: str) -> None:
    """hwirq = index | devfn and bus << 11 | domain << 27 (drivers/pci/msi/irqdomain.c, v6.1)."""
    hwirq = 2047 | 0x0200 << 11
    rewrite_interrupts(
        root,
        "PCI-MSIX-0000:02:00.0   1-edge      eth1-TxRx-1",
        f"{chip} {hwirq}-edge      eth1-TxRx-1",
    )
    found = vector(read_host(root), "eth1-TxRx-1")
    assert found.key == VectorKey("0000:02:00.0", 2047, "eth1-TxRx-1")
    assert found.chip == chip


def test_shared_lines_keep_all_actions_and_no_queue(root: Path) -> None:
    rewrite_interrupts(
        root,
        "PCI-MSIX-0000:01:00.0   0-edge      eth0-TxRx-0",
        "IO-APIC  16-fasteoi   i801_smbus, eth0-TxRx-0",
    )
    (root / f"sys/bus/pci/devices/0000:01:00.0/msi_irqs/{FIRST_IRQ}").unlink()
    found = vector(read_host(root), "i801_smbus,eth0-TxRx-0")
    assert found.key == VectorKey("IO-APIC", 16, "i801_smbus,eth0-TxRx-0")
    assert (found.queue, found.direction, found.driver) == (None, None, None)


def test_two_vectors_of_one_identity_are_left_alone(root: Path) -> None:
    rewrite_interrupts(root, " 1-edge      eth0-TxRx-1", " 0-edge      eth0-TxRx-0")
    host = read_host(root)
    twins = [v for v in host.vectors if v.key.action == "eth0-TxRx-0"]
    assert [v.movability for v in twins] == [Movability.UNKNOWN] * 2
    assert any("0000:01:00.0/0/eth0-TxRx-0" in line for line in host.unknown)


def test_numbers_of_absurd_length_are_left_out(root: Path) -> None:
    count = len(read_host(root).vectors)
    with (root / "proc/interrupts").open("a") as file:
        zeros = f" {0:10d}" * 8
        file.write(f"{'9' * 5000}:{zeros} IO-APIC 1-edge a\n")
        file.write(f"99:{zeros} IO-APIC {'9' * 5000}-edge b\n")
    assert len(read_host(root).vectors) == count


def test_a_row_without_a_handler_is_no_vector(root: Path) -> None:
    count = len(read_host(root).vectors)
    rewrite_interrupts(root, "eth0-TxRx-1\n", "\n")
    (root / f"sys/kernel/irq/{FIRST_IRQ + 1}/actions").write_text("\n")
    assert len(read_host(root).vectors) == count - 1


def test_an_interrupt_freed_meanwhile_keeps_what_was_seen(root: Path) -> None:
    irq = FIRST_IRQ
    shutil.rmtree(root / f"proc/irq/{irq}")
    shutil.rmtree(root / f"sys/kernel/irq/{irq}")
    found = vector(read_host(root), "eth0-TxRx-0")
    assert (found.affinity, found.effective) == (None, None)
    assert found.movability is Movability.NO_AFFINITY_FILE


def test_no_proc_irq_is_unknown(root: Path) -> None:
    shutil.rmtree(root / "proc/irq")
    host = read_host(root)
    assert {v.movability for v in host.vectors} == {Movability.UNKNOWN}
    assert "affinity of interrupts: no /proc/irq" in host.unknown


def test_lost_modes_are_unknown(root: Path) -> None:
    for file in root.glob("proc/irq/*/smp_affinity*"):
        file.chmod(0o444)
    assert {v.movability for v in read_host(root).vectors} == {Movability.UNKNOWN}


def test_one_of_two_interfaces_must_be_named(root: Path) -> None:
    """One PCI function may have two ports, as mlx4 does."""
    folder = root / "sys/devices/pci0000:01/0000:01:00.0/net"
    shutil.copytree(folder / "eth0", folder / "eth9", symlinks=True)
    (root / "sys/class/net/eth9").symlink_to("../../devices/pci0000:01/0000:01:00.0/net/eth9")
    assert vector(read_host(root), "eth0-TxRx-0").interface == "eth0"
    rewrite_interrupts(root, "      eth0-TxRx-0\n", "      mlx4-0@0000:01:00.0\n")
    assert vector(read_host(root), "mlx4-0@0000:01:00.0").interface is None


def test_a_hidden_multipath_disk_has_its_public_name(root: Path) -> None:
    link = root / "sys/block/nvme0n1"
    link.rename(root / "sys/block/nvme0c0n1")
    host = read_host(root)
    assert vector(host, "nvme0q1").block == "nvme0n1"
    assert [block.name for block in host.blocks] == ["nvme0c0n1"]


def test_a_closed_hpet_msi_is_no_managed_one(root: Path) -> None:
    rewrite_interrupts(
        root, "PCI-MSIX-0000:01:00.0   2-edge      eth0\n", "HPET-MSI   2-edge      hpet2\n"
    )
    irq = FIRST_IRQ + 2
    (root / f"sys/bus/pci/devices/0000:01:00.0/msi_irqs/{irq}").unlink()
    (root / f"proc/irq/{irq}/smp_affinity_list").chmod(0o444)
    found = vector(read_host(root), "hpet2")
    assert found.key == VectorKey("HPET-MSI", 2, "hpet2")
    assert found.movability is Movability.PER_CPU


def test_the_device_behind_virtio_gives_the_driver(root: Path) -> None:
    pci = root / "sys/devices/pci0000:01/0000:01:00.0"
    (pci / "driver").unlink()
    (pci / "driver").symlink_to("../../../bus/pci/drivers/virtio-pci")
    (pci / "virtio2").mkdir()
    (pci / "virtio2/driver").symlink_to("../../../../bus/virtio/drivers/virtio_net")
    assert vector(read_host(root), "eth0-TxRx-0").driver == "virtio_net"


def test_irq_threads_are_found_by_kernel_threads_only(root: Path) -> None:
    make_process(root, 70, f"irq/{FIRST_IRQ}-eth0-T", flags=0x00200040, cpus="1")
    make_process(root, 71, f"irq/{FIRST_IRQ}-s-eth0", flags=0x00200040, cpus="2")
    make_process(root, 72, f"irq/{FIRST_IRQ}-fake", flags=0x00400000, cpus="3")
    found = vector(read_host(root), "eth0-TxRx-0")
    assert [(t.pid, str(t.affinity)) for t in found.threads] == [(70, "1"), (71, "2")]


def make_process(root: Path, pid: int, comm: str, *, flags: int, cpus: str) -> None:
    folder = root / f"proc/{pid}"
    folder.mkdir()
    (folder / "comm").write_text(comm + "\n")
    rest = ["S", "2", "0", "0", "0", "-1", str(flags), *["0"] * 45]
    (folder / "stat").write_text(f"{pid} ({comm}) {' '.join(rest)}\n")
    (folder / "status").write_text(f"Name:\t{comm}\nCpus_allowed_list:\t{cpus}\n")
