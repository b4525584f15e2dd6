# SPDX-License-Identifier: GPL-2.0-only
"""The affinity of one interrupt vector, found by device, table entry and action."""

from __future__ import annotations

import re

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.host.host import VectorKey

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# Before per-device MSI domains (v6.2) hwirq carries the PCI device above 11 bits of entry:
# pci_msi_domain_calc_hwirq(), drivers/pci/msi/irqdomain.c, v6.1. A table has at most 2048 entries.
_ENTRY_MASK = 0x7FF


def parse_key(target: str) -> VectorKey:
    """The key that str(VectorKey) wrote; an action may hold slashes. Raises TargetGone."""
    parts = target.split("/", 2)
    if len(parts) != 3 or not parts[1].isdecimal() or not parts[0] or "\0" in target:
        raise TargetGone(f"{target[:80]!r} is not a vector: DEVICE/ENTRY/ACTION is expected")
    return VectorKey(parts[0], int(parts[1]), parts[2])


def find_irq(kernel: Kernel, target: str) -> int:
    """The vector's IRQ number at this moment. Raises TargetGone."""
    key = parse_key(target)
    hint = kernel.irq_hints.get(target)
    if hint is not None and _is_at(kernel, hint, key):
        return hint
    kernel.irq_hints.pop(target, None)
    for irq in _candidates(kernel, key):
        found = _key_at(kernel, irq, key.device)
        if found is not None:
            kernel.irq_hints[str(found)] = irq
    if target not in kernel.irq_hints:
        raise TargetGone(f"no interrupt vector {target} on this host now")
    return kernel.irq_hints[target]


def _candidates(kernel: Kernel, key: VectorKey) -> list[int]:
    folder = "/sys/kernel/irq"
    if _PCI_ADDRESS.fullmatch(key.device):
        folder = f"/sys/bus/pci/devices/{key.device}/msi_irqs"
    return kernel.tree.numbers(folder)


def _is_at(kernel: Kernel, irq: int, key: VectorKey) -> bool:
    if _PCI_ADDRESS.fullmatch(key.device) and not kernel.tree.exists(
        f"/sys/bus/pci/devices/{key.device}/msi_irqs/{irq}"
    ):
        return False
    return _key_at(kernel, irq, key.device) == key


def _key_at(kernel: Kernel, irq: int, device: str) -> VectorKey | None:
    """The key of the vector with this number now, None when it has no action or is not `device`'s.

    The caller has seen `irq` in the msi_irqs folder of a PCI device.
    """
    folder = f"/sys/kernel/irq/{irq}/"
    try:
        action = kernel.read(folder + "actions").strip()
        hwirq = int(kernel.read(folder + "hwirq"))
        is_msi = _PCI_ADDRESS.fullmatch(device) is not None
        if not action or not (is_msi or kernel.read(folder + "chip_name").strip() == device):
            return None
    except (OSError, ValueError):
        return None
    return VectorKey(device, hwirq & _ENTRY_MASK if is_msi else hwirq, action)


def _locate(kernel: Kernel, target: str) -> str:
    return str(find_irq(kernel, target))


def _read(kernel: Kernel, irq: str) -> str:
    return kernel.read(f"/proc/irq/{irq}/smp_affinity_list").strip()


def _write(kernel: Kernel, irq: str, value: str) -> None:
    kernel.write_once(f"/proc/irq/{irq}/smp_affinity_list", value + "\n")


def effective(kernel: Kernel, irq: str) -> str | None:
    """The CPUs the vector is programmed for; without interrupt remapping this lags by one IRQ."""
    try:
        return kernel.read(f"/proc/irq/{irq}/effective_affinity_list").strip()
    except FileNotFoundError:
        return None


def _movable(kernel: Kernel, irq: str) -> bool:
    # Mode 0444 marks a managed vector (register_irq_proc, kernel/irq/proc.c, v6.12).
    return kernel.tree.owner_may_write(f"/proc/irq/{irq}/smp_affinity_list") is not False


OPS = KnobOps(locate=_locate, read=_read, write=_write, effective=effective, movable=_movable)
