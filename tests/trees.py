# SPDX-License-Identifier: GPL-2.0-only
"""make_tree: a fake /proc with /sys, worded as a 6.12 kernel words them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agenttune.host.cpumask import CpuMask

FIRST_IRQ = 24
BOOT_ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "RCU")


@dataclass(frozen=True)
class _Shape:
    cpus: int
    nodes: int
    smt: int
    l3: int

    def cores(self) -> int:
        return self.cpus // self.smt

    def core(self, cpu: int) -> int:
        return cpu % self.cores()

    def node(self, cpu: int) -> int:
        return self.core(cpu) * self.nodes // self.cores()

    def siblings(self, cpu: int) -> CpuMask:
        return CpuMask.of(range(self.core(cpu), self.cpus, self.cores()))

    def l3_mask(self, cpu: int) -> CpuMask:
        cores = max(1, self.l3 // self.smt)
        group = self.core(cpu) // cores
        return CpuMask.of(c for c in range(self.cpus) if self.core(c) // cores == group)

    def node_mask(self, node: int) -> CpuMask:
        return CpuMask.of(c for c in range(self.cpus) if self.node(c) == node)


@dataclass(frozen=True)
class _Vector:
    irq: int
    address: str
    entry: int
    action: str
    node: int
    affinity: CpuMask
    effective: int
    count: int
    managed: bool = False


def make_tree(
    root: Path,
    *,
    cpus: int = 8,
    nodes: int = 1,
    smt: int = 1,
    l3: int = 4,
    nics: int = 2,
    queues: int = 4,
    nvme: int = 1,
) -> None:
    """Write a host below `root`: `cpus` threads, `l3` of them to an L3 cache.

    Thread t of core c is CPU c + t * cores. NIC n ('ethN', ixgbe) sits on node n % nodes and has
    one vector 'ethN-TxRx-Q' a queue, then 'ethN'. Each NVMe has 'nvmeNq0' (movable) and one
    kernel-managed vector a CPU, at most 32, their affinity files 0444. IRQ numbers start at 24.
    """
    shape = _Shape(cpus, nodes, smt, l3)
    _write_cpus(root, shape)
    _write_kernel(root, shape)
    vectors: list[_Vector] = []
    for nic in range(nics):
        vectors += _nic_vectors(shape, nic, queues, FIRST_IRQ + len(vectors))
        _write_nic(root, shape, nic, queues)
    for disk in range(nvme):
        made = _nvme_vectors(shape, disk, FIRST_IRQ + len(vectors))
        _write_nvme(root, shape, disk, made[1:])
        vectors += made
    for vector in vectors:
        _write_vector(root, shape, vector)
    _write_interrupts(root, shape, vectors)


def hex_mask(mask: CpuMask, cpus: int) -> str:
    """The kernel's '%*pb' of `mask` on a host of `cpus` possible CPUs (lib/vsprintf.c, v6.12)."""
    digits = f"{mask.bits:0{(cpus + 3) // 4}x}"
    head = len(digits) % 8
    groups = [digits[:head]] if head else []
    return ",".join(groups + [digits[i : i + 8] for i in range(head, len(digits), 8)])


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if mode != 0o644:
        path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _write_cpus(root: Path, shape: _Shape) -> None:
    system = root / "sys/devices/system"
    everyone = f"0-{shape.cpus - 1}\n" if shape.cpus > 1 else "0\n"
    for name in ("online", "possible", "present"):
        _put(system / "cpu" / name, everyone)
    for name in ("isolated", "nohz_full", "offline"):
        _put(system / "cpu" / name, "\n")
    for node in range(shape.nodes):
        _put(system / f"node/node{node}/cpulist", f"{shape.node_mask(node)}\n")
    l3_masks = {shape.core(cpu): shape.l3_mask(cpu) for cpu in range(shape.cores())}
    for cpu in range(shape.cpus):
        folder = system / f"cpu/cpu{cpu}"
        _put(folder / "topology/core_id", f"{shape.core(cpu)}\n")
        _put(folder / "topology/physical_package_id", f"{shape.node(cpu)}\n")
        _put(folder / "topology/thread_siblings_list", f"{shape.siblings(cpu)}\n")
        for index, level in enumerate((1, 1, 2, 3)):
            mask = l3_masks[shape.core(cpu)] if level == 3 else shape.siblings(cpu)
            _put(folder / f"cache/index{index}/level", f"{level}\n")
            _put(folder / f"cache/index{index}/shared_cpu_list", f"{mask}\n")


def _write_kernel(root: Path, shape: _Shape) -> None:
    proc = root / "proc"
    _put(proc / "sys/kernel/osrelease", "6.12.0-fake\n")
    _put(proc / "sys/kernel/random/boot_id", BOOT_ID + "\n")
    _put(proc / "sys/net/core/netdev_budget", "300\n")
    _put(proc / "sys/net/core/netdev_budget_usecs", "8000\n")
    _put(proc / "sys/net/core/dev_weight", "64\n")
    everyone = CpuMask((1 << shape.cpus) - 1)
    _put(proc / "irq/default_smp_affinity", hex_mask(everyone, shape.cpus) + "\n")
    zeros = " ".join(["00000000"] * 11)
    rows = [f"{100 + c:08x} {zeros} {c:08x} 00000000 00000000" for c in range(shape.cpus)]
    _put(proc / "net/softnet_stat", "\n".join(rows) + "\n")
    head = " " * 20 + "".join(f"CPU{cpu:<8d}" for cpu in range(shape.cpus))
    counts = "".join(f" {10 + cpu:10d}" for cpu in range(shape.cpus))
    lines = [head] + [f"{name:>12}:{counts}" for name in SOFTIRQS]
    _put(proc / "softirqs", "\n".join(lines) + "\n")


def _nic_vectors(shape: _Shape, nic: int, queues: int, irq: int) -> list[_Vector]:
    node = nic % shape.nodes
    near = shape.node_mask(node)
    cpus = list(near)
    names = [f"eth{nic}-TxRx-{queue}" for queue in range(queues)] + [f"eth{nic}"]
    return [
        _Vector(
            irq=irq + entry,
            address=_nic_address(nic),
            entry=entry,
            action=name,
            node=node,
            affinity=near,
            effective=cpus[entry % len(cpus)],
            count=1000 + irq + entry if entry < queues else 0,
        )
        for entry, name in enumerate(names)
    ]


def _nvme_vectors(shape: _Shape, disk: int, irq: int) -> list[_Vector]:
    node = disk % shape.nodes
    everyone = CpuMask((1 << shape.cpus) - 1)
    count = min(shape.cpus, 32)
    masks = [CpuMask.of(range(q, shape.cpus, count)) for q in range(count)]
    return [
        _Vector(irq, _nvme_address(disk), 0, f"nvme{disk}q0", node, everyone, 0, 12),
        *(
            _Vector(
                irq=irq + 1 + queue,
                address=_nvme_address(disk),
                entry=1 + queue,
                action=f"nvme{disk}q{1 + queue}",
                node=node,
                affinity=mask,
                effective=mask.first(),
                count=500 + queue,
                managed=True,
            )
            for queue, mask in enumerate(masks)
        ),
    ]


def _nic_address(nic: int) -> str:
    return f"0000:{nic + 1:02x}:00.0"


def _nvme_address(disk: int) -> str:
    return f"0001:{disk + 1:02x}:00.0"


def _write_vector(root: Path, shape: _Shape, vector: _Vector) -> None:
    folder = root / f"proc/irq/{vector.irq}"
    mode = 0o444 if vector.managed else 0o644
    effective = CpuMask.of([vector.effective])
    _put(folder / "smp_affinity", hex_mask(vector.affinity, shape.cpus) + "\n", mode)
    _put(folder / "smp_affinity_list", f"{vector.affinity}\n", mode)
    _put(folder / "effective_affinity", hex_mask(effective, shape.cpus) + "\n", 0o444)
    _put(folder / "effective_affinity_list", f"{effective}\n", 0o444)
    _put(folder / "affinity_hint", hex_mask(CpuMask(), shape.cpus) + "\n", 0o444)
    _put(folder / "node", f"{vector.node}\n", 0o444)
    facts = root / f"sys/kernel/irq/{vector.irq}"
    _put(facts / "actions", vector.action + "\n", 0o444)
    _put(facts / "chip_name", f"PCI-MSIX-{vector.address}\n", 0o444)
    _put(facts / "hwirq", f"{vector.entry}\n", 0o444)
    _put(facts / "type", "edge\n", 0o444)
    _put(_pci_folder(root, vector.address) / f"msi_irqs/{vector.irq}", "msix\n", 0o444)


def _pci_folder(root: Path, address: str) -> Path:
    return root / f"sys/devices/pci{address[:7]}/{address}"


def _write_pci(root: Path, shape: _Shape, address: str, driver: str, node: int) -> Path:
    folder = _pci_folder(root, address)
    _put(folder / "numa_node", f"{node}\n")
    _put(folder / "local_cpulist", f"{shape.node_mask(node)}\n", 0o444)
    (root / f"sys/bus/pci/drivers/{driver}").mkdir(parents=True, exist_ok=True)
    _link(folder / "driver", f"../../../bus/pci/drivers/{driver}")
    _link(root / f"sys/bus/pci/devices/{address}", f"../../../devices/pci{address[:7]}/{address}")
    return folder


def _write_nic(root: Path, shape: _Shape, nic: int, queues: int) -> None:
    address = _nic_address(nic)
    pci = _write_pci(root, shape, address, "ixgbe", nic % shape.nodes)
    folder = pci / f"net/eth{nic}"
    _put(folder / "ifindex", f"{2 + nic}\n", 0o444)
    _put(folder / "threaded", "0\n")
    _link(folder / "device", f"../../../{address}")
    empty = hex_mask(CpuMask(), shape.cpus) + "\n"
    for queue in range(queues):
        xps = CpuMask.of(c for c in range(shape.cpus) if c % queues == queue)
        _put(folder / f"queues/rx-{queue}/rps_cpus", empty)
        _put(folder / f"queues/tx-{queue}/xps_cpus", hex_mask(xps, shape.cpus) + "\n")
    _link(
        root / f"sys/class/net/eth{nic}",
        f"../../devices/pci{address[:7]}/{address}/net/eth{nic}",
    )


def _write_nvme(root: Path, shape: _Shape, disk: int, vectors: list[_Vector]) -> None:
    address = _nvme_address(disk)
    pci = _write_pci(root, shape, address, "nvme", disk % shape.nodes)
    folder = pci / f"nvme/nvme{disk}/nvme{disk}n1"
    _link(folder / "device", f"../../nvme{disk}")
    for queue, vector in enumerate(vectors):
        cpus = ", ".join(str(cpu) for cpu in vector.affinity)
        _put(folder / f"mq/{queue}/cpu_list", cpus + "\n", 0o444)
    _link(
        root / f"sys/block/nvme{disk}n1",
        f"../devices/pci{address[:7]}/{address}/nvme/nvme{disk}/nvme{disk}n1",
    )


def _write_interrupts(root: Path, shape: _Shape, vectors: list[_Vector]) -> None:
    with (root / "proc/interrupts").open("w") as file:
        file.writelines(_interrupt_lines(shape, vectors))


def _interrupt_lines(shape: _Shape, vectors: list[_Vector]) -> Iterator[str]:
    """Rows as show_interrupts() prints them (kernel/irq/proc.c, v6.12)."""
    width = max(3, len(str(FIRST_IRQ + len(vectors))))
    yield " " * (width + 8) + "".join(f"CPU{cpu:<8d}" for cpu in range(shape.cpus)) + "\n"
    zero = f" {0:10d}"
    for vector in vectors:
        before, after = zero * vector.effective, zero * (shape.cpus - vector.effective - 1)
        yield (
            f"{vector.irq:>{width}}:{before} {vector.count:10d}{after}"
            f" PCI-MSIX-{vector.address} {vector.entry:3d}-edge      {vector.action}\n"
        )
    local = "".join(f" {5000 + cpu:10d}" for cpu in range(shape.cpus))
    yield f"{'LOC':>{width}}:{local}   Local timer interrupts\n"
    yield f"{'ERR':>{width}}: {0:10d}\n"
