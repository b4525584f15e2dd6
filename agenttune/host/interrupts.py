# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt vectors: identity, queue, affinity, counts."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from agenttune.host.actions import parse_action
from agenttune.host.counters import INTERRUPTS, CounterRow, read_interrupt_rows
from agenttune.host.cpumask import CpuMask
from agenttune.host.devices import PciDevice, by_irq, pci_address_in
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
from agenttune.host.tree import Tree

_PROC = "/proc/irq"
_FACTS = "/sys/kernel/irq"
_DEBUG = "/sys/kernel/debug/irq/irqs"
# ' PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0', ' GICv3  27 Level     arch_timer'
_ROW = re.compile(r"(?P<chip>\S.*?)\s+(?P<hwirq>\d+)(?:-\S+|\s+(?:Edge|Level))\s+(?P<actions>\S.*)")
# pci_msi_domain_calc_hwirq() puts the table index into the low 11 bits before 6.2; later kernels
# have nothing else there (drivers/pci/msi/irqdomain.c).
_MSI_INDEX = 0x7FF


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


def read_interrupts(
    tree: Tree, devices: Devices
) -> tuple[tuple[Vector, ...], tuple[ArchInterrupt, ...]]:
    """Device vectors that have a handler, by IRQ number, then the rows that have no number."""
    rows = list(read_interrupt_rows(tree))
    numbered = {int(row.label): row for row in rows if row.label.isdecimal()}
    arch = tuple(
        ArchInterrupt(row.label, row.rest, row.counts) for row in rows if not row.label.isdecimal()
    )
    if not rows:
        tree.note("interrupt counts", f"no readable {INTERRUPTS}")
    owners = by_irq(devices.pci)
    masks: dict[str, CpuMask] = {}
    raws = [
        _read_raw(tree, irq, numbered.get(irq), masks) for irq in _numbers(tree, numbered, owners)
    ]
    if rows or tree.exists(_FACTS):
        raws = [raw for raw in raws if raw.action]
    elif raws:
        tree.note("interrupt handlers", f"no readable {INTERRUPTS} and no {_FACTS}")
    return _resolve(tree, raws, devices, owners), arch


def _numbers(
    tree: Tree, rows: Mapping[int, CounterRow], owners: Mapping[int, PciDevice]
) -> list[int]:
    """The interrupts of the best source there is; /proc/irq and msi_irqs hold idle ones too."""
    if rows or tree.exists(_FACTS):
        return sorted({*rows, *tree.numbers(_FACTS)})
    return sorted({*tree.numbers(_PROC), *owners})


def _read_raw(tree: Tree, irq: int, row: CounterRow | None, masks: dict[str, CpuMask]) -> _Raw:
    """The interrupt may be freed while this runs: what is gone stays unknown."""
    chip, hwirq, action = _identity(tree, irq, row)
    wanted = tree.read_with_mode(f"{_PROC}/{irq}/smp_affinity_list")
    return _Raw(
        irq=irq,
        chip=chip,
        hwirq=hwirq,
        action=action,
        affinity=_mask(tree, wanted[0], masks) if wanted else None,
        effective=_mask(tree, tree.read(f"{_PROC}/{irq}/effective_affinity_list"), masks),
        writable=bool(wanted[1] & stat.S_IWUSR) if wanted else None,
        counts=row.counts if row else None,
    )


def _identity(tree: Tree, irq: int, row: CounterRow | None) -> tuple[str, int | None, str]:
    """(chip, hwirq, actions): sysfs says them plainly, the row in columns."""
    chip = tree.read(f"{_FACTS}/{irq}/chip_name")
    if chip:
        action = tree.read(f"{_FACTS}/{irq}/actions") or ""
        return chip, tree.number(f"{_FACTS}/{irq}/hwirq"), action
    match = _ROW.fullmatch(row.rest) if row else None
    if not match:
        return "", None, ""
    return match["chip"], int(match["hwirq"]), match["actions"].replace(", ", ",")


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


def _resolve(
    tree: Tree, raws: Sequence[_Raw], devices: Devices, owners: Mapping[int, PciDevice]
) -> tuple[Vector, ...]:
    modes = judge_modes(raw.writable for raw in raws)
    spreads = _spreads(raws, devices.blocks, owners)
    debugfs = tree.exists(_DEBUG)
    files = tree.exists(_PROC)
    if raws and not files:
        tree.note("affinity of interrupts", f"no {_PROC}")
    vectors = []
    for raw in raws:
        device = owners.get(raw.irq)
        evidence = Evidence(
            action=raw.action,
            affinity=raw.affinity,
            writable=raw.writable,
            file_missing=files and not tree.exists(f"{_PROC}/{raw.irq}/smp_affinity_list"),
            msi=device is not None or "MSI" in raw.chip,
            driver=device.driver if device else None,
            debugfs=tree.read(f"{_DEBUG}/{raw.irq}") if debugfs else None,
        )
        spread = spreads.get(device.address, frozenset()) if device else frozenset()
        vectors.append(_vector(tree, raw, device, devices, classify(evidence, modes, spread)))
    return _without_doubles(tree, vectors)


def _spreads(
    raws: Iterable[_Raw], blocks: Iterable[BlockDevice], owners: Mapping[int, PciDevice]
) -> dict[str, Set[CpuMask]]:
    """By PCI address, the blk-mq masks that the device's vectors mirror."""
    affinities: dict[str, set[CpuMask]] = {}
    for raw in raws:
        if raw.irq in owners and raw.affinity:
            affinities.setdefault(owners[raw.irq].address, set()).add(raw.affinity)
    return {
        block.device: mirrored(
            {queue.cpus for queue in block.queues if queue.cpus}, affinities[block.device]
        )
        for block in blocks
        if block.device in affinities and block.queues
    }


def _vector(
    tree: Tree, raw: _Raw, device: PciDevice | None, devices: Devices, movability: Movability
) -> Vector:
    address = device.address if device else pci_address_in(raw.chip)
    queue, direction = (None, None) if "," in raw.action else parse_action(raw.action)
    return Vector(
        irq=raw.irq,
        key=VectorKey(address or raw.chip, _entry(raw, device), raw.action),
        movability=movability,
        chip=raw.chip,
        driver=device.driver if device else None,
        interface=_interface(raw.action, address, devices.interfaces),
        block=_block(address, devices.blocks),
        queue=queue,
        direction=direction,
        node=_node(tree, raw.irq, device),
        affinity=raw.affinity,
        effective=raw.effective,
        counts=raw.counts,
        threads=devices.threads.get(raw.irq, ()),
    )


def _entry(raw: _Raw, device: PciDevice | None) -> int:
    """The MSI-X table entry; where it is not told, the place among the device's vectors."""
    if raw.hwirq is not None and "MSI" in raw.chip:
        return raw.hwirq & _MSI_INDEX
    if device:
        return device.irqs.index(raw.irq)
    return raw.hwirq or 0


def _interface(action: str, address: str | None, interfaces: Iterable[NetInterface]) -> str | None:
    """A device with several interfaces must name one in the action."""
    names = [i.name for i in interfaces if address and i.device == address]
    if len(names) == 1:
        return names[0]
    words = re.split(r"[^\w.]+", action)
    return next((name for name in names if name in words), None)


def _block(address: str | None, blocks: Iterable[BlockDevice]) -> str | None:
    names = [block.name for block in blocks if address and block.device == address]
    return ",".join(names) or None


def _node(tree: Tree, irq: int, device: PciDevice | None) -> int | None:
    node = device.node if device else None
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
