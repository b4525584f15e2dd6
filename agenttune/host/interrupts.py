# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt vectors: identity, queue, affinity, counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from agenttune.host.actions import parse_action
from agenttune.host.counters import INTERRUPTS, CounterRow, read_interrupt_rows
from agenttune.host.cpumask import CpuMask
from agenttune.host.devices import PciDevice, pci_address_in
from agenttune.host.host import (
    ArchInterrupt,
    BlockDevice,
    IrqThread,
    Movability,
    NetInterface,
    Vector,
    VectorKey,
)
from agenttune.host.movability import Evidence, classify, judge_modes, mirrored
from agenttune.host.tree import Tree, is_decimal

_Thing = TypeVar("_Thing", NetInterface, BlockDevice)

_PROC = "/proc/irq"
_FACTS = "/sys/kernel/irq"
_DEBUG = "/sys/kernel/debug/irq/irqs"
# ' PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0', ' GICv3  27 Level     arch_timer'
_ROW = re.compile(
    r"(?P<chip>\S.*?)\s+(?P<hwirq>[0-9]{1,19})(?:-\S+|\s+(?:Edge|Level))\s+(?P<actions>\S.*)"
)
# One path of a multipath namespace, 'nvme0c1n2', is hidden: people know it as 'nvme0n2'
# (nvme_alloc_ns(), drivers/nvme/host/core.c, v6.1).
_HIDDEN_PATH = re.compile(r"(nvme\d+)c\d+(n\d+)")
_IDT_ENTRY = re.compile(r"^\s*Vector:\s+(\d{1,3})\n\s*Target:\s+(\d{1,6})$", re.MULTILINE)
# pci_msi_domain_calc_hwirq() puts the table index into the low 11 bits before 6.2; later kernels
# have nothing else there (drivers/pci/msi/irqdomain.c).
MSI_INDEX = 0x7FF


@dataclass(frozen=True, slots=True)
class Devices:
    """What a vector can belong to."""

    pci: tuple[PciDevice, ...]
    interfaces: tuple[NetInterface, ...]
    blocks: tuple[BlockDevice, ...]
    threads: Mapping[int, tuple[IrqThread, ...]]


@dataclass(frozen=True, slots=True)
class _Raw:
    """One interrupt as its files have it; `counts` None when there is no /proc/interrupts."""

    irq: int
    chip: str
    hwirq: int | None
    action: str
    affinity: CpuMask | None
    effective: CpuMask | None
    writable: bool | None
    counts: Mapping[int, int] | None


@dataclass(frozen=True, slots=True)
class _Owner:
    """A PCI device with its interfaces' and disks' names.

    `spread` holds the disks' blk-mq masks when the device's vectors mirror them.
    """

    pci: PciDevice
    interfaces: tuple[str, ...]
    disks: tuple[str, ...]
    spread: Set[CpuMask]


def read_interrupts(
    tree: Tree, devices: Devices
) -> tuple[tuple[Vector, ...], tuple[ArchInterrupt, ...]]:
    """Device vectors that have a handler, by IRQ number, then the rows that have no number."""
    rows = list(read_interrupt_rows(tree))
    if not rows:
        tree.note("interrupt counts", f"no readable {INTERRUPTS}")
    numbered = {int(row.label): row for row in rows if is_decimal(row.label)}
    masks: dict[str, CpuMask] = {}
    raws = [
        _read_raw(tree, irq, numbered.get(irq), masks)
        for irq in _numbers(tree, numbered, devices.pci)
    ]
    if numbered or tree.exists(_FACTS):
        raws = [raw for raw in raws if raw.action]
    elif raws:
        tree.note("interrupt handlers", f"no readable {INTERRUPTS} and no {_FACTS}")
    arch = tuple(
        ArchInterrupt(row.label, row.rest, row.counts) for row in rows if not is_decimal(row.label)
    )
    return _resolve(tree, raws, devices), arch


def _numbers(tree: Tree, rows: Iterable[int], pci: Iterable[PciDevice]) -> list[int]:
    """The interrupts of the best source there is; /proc/irq and msi_irqs hold idle ones too."""
    listed = {*rows, *tree.numbers(_FACTS)}
    return sorted(listed or {*tree.numbers(_PROC), *(irq for d in pci for irq in d.irqs)})


def _read_raw(tree: Tree, irq: int, row: CounterRow | None, masks: dict[str, CpuMask]) -> _Raw:
    """The interrupt may be freed while this runs: what is gone stays unknown."""
    chip, hwirq, action = _identity(tree, irq, row)
    path = f"{_PROC}/{irq}/smp_affinity_list"
    return _Raw(
        irq=irq,
        chip=chip,
        hwirq=hwirq,
        action=action,
        affinity=_mask(tree, tree.read(path), masks),
        effective=_mask(tree, tree.read(f"{_PROC}/{irq}/effective_affinity_list"), masks),
        writable=tree.owner_may_write(path),
        counts=row.counts if row else None,
    )


def _identity(tree: Tree, irq: int, row: CounterRow | None) -> tuple[str, int | None, str]:
    """(chip, hwirq, actions). sysfs has the same words as the row, for three times the time."""
    match = _ROW.fullmatch(row.rest) if row else None
    if match:
        return match["chip"], int(match["hwirq"]), match["actions"].replace(", ", ",")
    folder = f"{_FACTS}/{irq}"
    action = tree.read(f"{folder}/actions") or ""
    return tree.read(f"{folder}/chip_name") or "", tree.number(f"{folder}/hwirq"), action


def _mask(tree: Tree, text: str | None, masks: dict[str, CpuMask]) -> CpuMask | None:
    """Thousands of vectors share a few masks: each is parsed once."""
    if text is None:
        return None
    if text not in masks:
        try:
            masks[text] = CpuMask.parse_list(text)
        except ValueError as error:
            tree.note("an interrupt's affinity", str(error))
            return None
    return masks[text]


def _resolve(tree: Tree, raws: Sequence[_Raw], devices: Devices) -> tuple[Vector, ...]:
    owners = _owners(devices, raws)
    modes = judge_modes(raw.writable for raw in raws)
    debugfs = tree.exists(_DEBUG)
    files = tree.exists(_PROC)
    if raws and not files:
        tree.note("affinity of interrupts", f"no {_PROC}")
    vectors = []
    for raw in raws:
        owner = owners.get(raw.irq)
        evidence = Evidence(
            action=raw.action,
            affinity=raw.affinity,
            writable=raw.writable,
            file_missing=files and raw.writable is None and not _has_file(tree, raw.irq),
            pci=owner is not None or "PCI-MSI" in raw.chip,
            driver=owner.pci.driver if owner else None,
            debugfs=tree.read(f"{_DEBUG}/{raw.irq}") if debugfs else None,
        )
        spread = owner.spread if owner else frozenset()
        movability = classify(evidence, modes, spread)
        vector = _vector(tree, raw, owner, movability, devices.threads.get(raw.irq, ()))
        idt_vector, idt_cpu = _idt_entry(evidence.debugfs or "")
        vectors.append(replace(vector, idt_vector=idt_vector, idt_cpu=idt_cpu))
    return _without_doubles(tree, vectors)


def _idt_entry(debugfs: str) -> tuple[int | None, int | None]:
    """As x86_vector_debug_show() prints it (arch/x86/kernel/apic/vector.c, v6.1 to v6.12)."""
    match = _IDT_ENTRY.search(debugfs)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _has_file(tree: Tree, irq: int) -> bool:
    return tree.exists(f"{_PROC}/{irq}/smp_affinity_list")


def _owners(devices: Devices, raws: Iterable[_Raw]) -> dict[int, _Owner]:
    """By IRQ number, the PCI device that has it as an MSI."""
    affinities = {raw.irq: raw.affinity for raw in raws if raw.affinity}
    owners = {}
    interfaces, blocks = _by_device(devices.interfaces), _by_device(devices.blocks)
    for pci in devices.pci:
        disks = blocks.get(pci.address, [])
        queues = {q.cpus for disk in disks for q in disk.queues or () if q.cpus}
        owner = _Owner(
            pci=pci,
            interfaces=tuple(i.name for i in interfaces.get(pci.address, ())),
            disks=tuple(_HIDDEN_PATH.sub(r"\1\2", disk.name) for disk in disks),
            spread=mirrored(queues, {affinities[i] for i in pci.irqs if i in affinities}),
        )
        owners.update(dict.fromkeys(pci.irqs, owner))
    return owners


def _by_device(things: Iterable[_Thing]) -> dict[str, list[_Thing]]:
    groups: dict[str, list[_Thing]] = {}
    for thing in things:
        if thing.device:
            groups.setdefault(thing.device, []).append(thing)
    return groups


def _vector(
    tree: Tree,
    raw: _Raw,
    owner: _Owner | None,
    movability: Movability,
    threads: tuple[IrqThread, ...],
) -> Vector:
    address = owner.pci.address if owner else pci_address_in(raw.chip)
    queue, direction = (None, None) if "," in raw.action else parse_action(raw.action)
    return Vector(
        irq=raw.irq,
        key=VectorKey(address or raw.chip, _entry(raw, owner), raw.action),
        movability=movability,
        chip=raw.chip,
        driver=owner.pci.driver if owner else None,
        interface=_interface(raw.action, owner.interfaces) if owner else None,
        block=(",".join(owner.disks) or None) if owner else None,
        queue=queue,
        direction=direction,
        node=_node(tree, raw.irq, owner),
        affinity=raw.affinity,
        effective=raw.effective,
        counts=raw.counts,
        threads=threads,
    )


def _entry(raw: _Raw, owner: _Owner | None) -> int:
    """The MSI-X table entry; where it is not told, the place among the device's vectors."""
    if raw.hwirq is not None and "MSI" in raw.chip:
        return raw.hwirq & MSI_INDEX
    if owner:
        return owner.pci.irqs.index(raw.irq)
    return raw.hwirq or 0


def _interface(action: str, names: Sequence[str]) -> str | None:
    """A device with several interfaces must name one in the action."""
    if len(names) == 1:
        return names[0]
    words = re.split(r"[^\w.]+", action)
    return next((name for name in names if name in words), None)


def _node(tree: Tree, irq: int, owner: _Owner | None) -> int | None:
    node = owner.pci.node if owner else None
    if node is None:
        node = tree.number(f"{_PROC}/{irq}/node")
    return None if node is None or node < 0 else node


def _without_doubles(tree: Tree, vectors: Sequence[Vector]) -> tuple[Vector, ...]:
    """A key that two vectors share names neither: nothing may be written by it."""
    seen = Counter(vector.key for vector in vectors)
    doubles = {key for key, count in seen.items() if count > 1}
    for key in sorted(map(str, doubles)):
        tree.note(f"interrupt {key}", "several have this identity; they are left alone")
    return tuple(
        replace(vector, movability=Movability.UNKNOWN) if vector.key in doubles else vector
        for vector in vectors
    )
