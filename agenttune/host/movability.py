# SPDX-License-Identifier: GPL-2.0-only
"""Whether user space may set a vector's affinity, told without writing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import Enum

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Movability

# Drivers that ask for kernel-managed vectors (PCI_IRQ_AFFINITY or a virtio irq_affinity, v6.1 to
# v6.12). The vectors of any other driver are user space's.
_MANAGING_DRIVERS = frozenset(
    {
        "aacraid",
        "be2iscsi",
        "csiostor",
        "efct",
        "hisi_sas_v3_hw",
        "hpsa",
        "lpfc",
        "megaraid_sas",
        "mpi3mr",
        "mpt3sas",
        "ngbe",
        "nvme",
        "pm80xx",
        "qla2xxx",
        "smartpqi",
        "txgbe",
        "virtio_blk",
        "virtio_scsi",
        "virtiofs",
    }
)
# irq_affinity.pre_vectors of those drivers: never managed (drivers/nvme/host/pci.c,
# drivers/virtio/virtio_pci_common.c, drivers/scsi/virtio_scsi.c).
_PRE_VECTOR = re.compile(r"nvme\d+q0|virtio\d+-(config|control|event)")
# x86's timers, requested with IRQF_NOBALANCING: setup_default_timer_irq() in
# arch/x86/kernel/time.c, hpet_setup_irq() in arch/x86/kernel/hpet.c, v6.1.
_TIMER = re.compile(r"timer|hpet\d+")


class FileModes(Enum):
    """What the mode bits of this host's affinity files are worth.

    Since 6.12 a file that user space cannot set is 0444 (register_irq_proc(), kernel/irq/proc.c);
    before, all are 0644.
    """

    TELLING = "some may be written, some not"
    SILENT = "all may be written"
    LOST = "none may be written: the recording did not keep modes"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one vector. `writable` None: its affinity file could not be read.

    `pci`: it is the MSI of a PCI device, the only kind of vector that the kernel manages here.
    `debugfs` is the text of /sys/kernel/debug/irq/irqs/N, where the kernel has that.
    """

    action: str
    affinity: CpuMask | None
    writable: bool | None
    file_missing: bool
    pci: bool
    driver: str | None
    debugfs: str | None = None


def judge_modes(writable: Iterable[bool | None]) -> FileModes:
    seen = {known for known in writable if known is not None}
    if seen == {True, False}:
        return FileModes.TELLING
    return FileModes.SILENT if True in seen else FileModes.LOST


def classify(evidence: Evidence, modes: FileModes, spread: Set[CpuMask]) -> Movability:
    """`spread`: the blk-mq masks of the vector's device, when its vectors mirror them all."""
    if evidence.file_missing:
        return Movability.NO_AFFINITY_FILE
    if evidence.debugfs is not None:
        return _by_debugfs(evidence.debugfs)
    if evidence.writable is None or modes is FileModes.LOST:
        return Movability.UNKNOWN
    if not evidence.writable:
        # __irq_can_set_affinity(): managed, per-CPU or IRQF_NOBALANCING (kernel/irq/manage.c).
        return Movability.MANAGED if evidence.pci else Movability.PER_CPU
    if modes is FileModes.TELLING:
        return Movability.MOVABLE
    return _by_habit(evidence, spread)


def _by_habit(evidence: Evidence, spread: Set[CpuMask]) -> Movability:
    """Before 6.12 nothing says it, but drivers are known and blk-mq shows its own masks."""
    if not evidence.pci and _TIMER.fullmatch(evidence.action):
        return Movability.PER_CPU
    if evidence.driver not in _MANAGING_DRIVERS or _PRE_VECTOR.fullmatch(evidence.action):
        return Movability.MOVABLE
    return Movability.MANAGED if evidence.affinity in spread else Movability.UNKNOWN


def mirrored(queues: Set[CpuMask], affinities: Set[CpuMask]) -> Set[CpuMask]:
    """The blk-mq masks of a device if each is some vector's affinity, else none.

    blk-mq maps queues by the managed masks (blk_mq_pci_map_queues(), block/blk-mq-pci.c, v6.1). One
    queue alone proves nothing: its mask is every CPU, as is a movable vector's default.
    """
    return queues if len(queues) > 1 and queues <= affinities else frozenset()


def _by_debugfs(text: str) -> Movability:
    """Flag names as irq_debug_show_data() prints them (kernel/irq/debugfs.c, v6.12)."""
    if "IRQD_AFFINITY_MANAGED" in text:
        return Movability.MANAGED
    if "IRQD_PER_CPU" in text or "IRQD_NO_BALANCING" in text:
        return Movability.PER_CPU
    return Movability.MOVABLE
