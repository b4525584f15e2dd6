# SPDX-License-Identifier: GPL-2.0-only
"""The affinity of one interrupt vector, found by device, table entry and action."""

from __future__ import annotations

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.host.devices import pci_address_in
from agenttune.host.host import VectorKey
from agenttune.host.interrupts import MSI_INDEX


def parse_key(target: str) -> VectorKey:
    """The key that str(VectorKey) wrote; an action may hold slashes. Raises TargetGone."""
    parts = target.split("/", 2)
    if len(parts) != 3 or not parts[1].isdecimal() or not parts[0] or "\0" in target:
        raise TargetGone(f"{target[:80]!r} is not a vector: DEVICE/ENTRY/ACTION is expected")
    return VectorKey(parts[0], int(parts[1]), parts[2])


def find_irq(kernel: Kernel, target: str) -> int:
    """The vector's IRQ number at this moment. Raises TargetGone.

    A hint is good for as long as the interrupt's descriptor lives: freeing it removes its sysfs
    folder (free_desc, kernel/irq/irqdesc.c, v6.12), and a later one has another identity.
    """
    hint = kernel.irq_hints.get(target)
    if hint is not None and kernel.identity(_folder(hint[0])) == hint[1]:
        return hint[0]
    kernel.irq_hints.pop(target, None)
    key = parse_key(target)
    for irq in _candidates(kernel, key):
        identity = kernel.identity(_folder(irq))
        found = _key_at(kernel, irq, key.device)
        if found is not None and identity is not None:
            kernel.irq_hints[str(found)] = (irq, identity)
    if target not in kernel.irq_hints:
        raise TargetGone(f"no interrupt vector {target} on this host now")
    return kernel.irq_hints[target][0]


def _folder(irq: int) -> str:
    return f"/sys/kernel/irq/{irq}"


def _candidates(kernel: Kernel, key: VectorKey) -> list[int]:
    folder = "/sys/kernel/irq"
    if pci_address_in(key.device) == key.device:
        folder = f"/sys/bus/pci/devices/{key.device}/msi_irqs"
    return kernel.tree.numbers(folder)


def _key_at(kernel: Kernel, irq: int, device: str) -> VectorKey | None:
    """The key of the vector with this number now, None when it has no action or is not `device`'s.

    The caller has seen `irq` in the msi_irqs folder of a PCI device.
    """
    folder = _folder(irq)
    try:
        action = kernel.read(f"{folder}/actions").strip()
        hwirq = int(kernel.read(f"{folder}/hwirq"))
        is_msi = pci_address_in(device) == device
        if not action or not (is_msi or kernel.read(f"{folder}/chip_name").strip() == device):
            return None
    except (OSError, ValueError):
        return None
    return VectorKey(device, hwirq & MSI_INDEX if is_msi else hwirq, action)


def _locate(kernel: Kernel, target: str) -> str:
    return str(find_irq(kernel, target))


def _read(kernel: Kernel, irq: str) -> str:
    return kernel.read(f"/proc/irq/{irq}/smp_affinity_list").strip()


def _write(kernel: Kernel, irq: str, value: str) -> str:
    return kernel.write_once(f"/proc/irq/{irq}/smp_affinity_list", value + "\n").strip()


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
