# SPDX-License-Identifier: GPL-2.0-only
"""Managed or movable, from each kind of evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Movability
from agenttune.host.movability import Evidence, FileModes, classify, judge_modes, mirrored

CPU0, CPU1, BOTH = CpuMask.of([0]), CpuMask.of([1]), CpuMask.of([0, 1])
NVME = Evidence(
    action="nvme0q1",
    affinity=CPU0,
    writable=True,
    file_missing=False,
    pci=True,
    driver="nvme",
)
SPREAD = frozenset({CPU0, CPU1})


@pytest.mark.parametrize(
    ("writable", "modes"),
    [
        ([True, False, None], FileModes.TELLING),
        ([True, True], FileModes.SILENT),
        ([False, False], FileModes.LOST),
        ([None], FileModes.LOST),
        ([], FileModes.LOST),
    ],
)
def test_what_mode_bits_are_worth(writable: list[bool | None], modes: FileModes) -> None:
    assert judge_modes(writable) is modes


def test_a_kernel_that_tells_by_mode_is_believed() -> None:
    closed = replace(NVME, writable=False)
    assert classify(closed, FileModes.TELLING, frozenset()) is Movability.MANAGED
    assert classify(NVME, FileModes.TELLING, SPREAD) is Movability.MOVABLE


def test_a_closed_file_of_no_msi_is_fixed_to_its_cpu() -> None:
    timer = replace(NVME, action="timer", driver=None, pci=False, writable=False)
    assert classify(timer, FileModes.TELLING, frozenset()) is Movability.PER_CPU


def test_before_6_12_a_mirrored_queue_is_managed() -> None:
    assert classify(NVME, FileModes.SILENT, SPREAD) is Movability.MANAGED


def test_before_6_12_a_queue_without_evidence_is_unknown() -> None:
    assert classify(NVME, FileModes.SILENT, frozenset()) is Movability.UNKNOWN
    elsewhere = replace(NVME, affinity=BOTH)
    assert classify(elsewhere, FileModes.SILENT, SPREAD) is Movability.UNKNOWN


@pytest.mark.parametrize(
    ("driver", "action"),
    [
        ("nvme", "nvme0q0"),
        ("virtio_blk", "virtio1-config"),
        ("virtio_scsi", "virtio3-event"),
        ("virtio_net", "virtio2-input.0"),
        ("ixgbe", "eth0-TxRx-0"),
        (None, "ttyS0"),
    ],
)
def test_before_6_12_other_vectors_are_movable(driver: str | None, action: str) -> None:
    vector = replace(NVME, driver=driver, action=action)
    assert classify(vector, FileModes.SILENT, SPREAD) is Movability.MOVABLE


@pytest.mark.parametrize(
    ("action", "pci", "expected"),
    [
        ("timer", False, Movability.PER_CPU),
        ("hpet2", False, Movability.PER_CPU),
        ("timer", True, Movability.MOVABLE),
        ("timers", False, Movability.MOVABLE),
    ],
)
def test_before_6_12_timers_are_fixed(action: str, pci: bool, expected: Movability) -> None:
    vector = replace(NVME, driver=None, action=action, pci=pci)
    assert classify(vector, FileModes.SILENT, SPREAD) is expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("dstate:   0x1b401200\n  IRQD_ACTIVATED\n  IRQD_AFFINITY_MANAGED", Movability.MANAGED),
        ("dstate:   0x00000800\n  IRQD_PER_CPU", Movability.PER_CPU),
        ("dstate:   0x00000400\n  IRQD_NO_BALANCING", Movability.PER_CPU),
        ("dstate:   0x01401200\n  IRQD_ACTIVATED", Movability.MOVABLE),
    ],
)
def test_debugfs_outweighs_the_mode(flags: str, expected: Movability) -> None:
    assert classify(replace(NVME, debugfs=flags), FileModes.SILENT, SPREAD) is expected


def test_lost_modes_and_unread_files_are_unknown() -> None:
    assert classify(NVME, FileModes.LOST, SPREAD) is Movability.UNKNOWN
    unread = replace(NVME, writable=None)
    assert classify(unread, FileModes.TELLING, SPREAD) is Movability.UNKNOWN


def test_no_file_is_said() -> None:
    missing = replace(NVME, writable=None, file_missing=True)
    assert classify(missing, FileModes.TELLING, SPREAD) is Movability.NO_AFFINITY_FILE


def test_a_device_mirrors_all_of_its_queues_or_none() -> None:
    assert mirrored({CPU0, CPU1}, {CPU0, CPU1, BOTH}) == SPREAD
    assert mirrored({CPU0, CPU1}, {CPU0, BOTH}) == frozenset()
    # One queue for every CPU looks the same as a movable vector's default.
    assert mirrored({BOTH}, {BOTH}) == frozenset()
