# SPDX-License-Identifier: GPL-2.0-only
"""What tests that need a guest share: whether they run here, where they are, the kernel's log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm.lab import console

GUEST_FACTS = Path("/run/agenttune-guest")
HOW = "vm/run -- $AGENTTUNE_CACHE/venv/bin/python -m pytest tests/vm"
_LEFT_OUT = pytest.StashKey[int]()


def in_guest() -> bool:
    """Whether this is a guest of the VM lab; vm/guest/session puts the file there."""
    return GUEST_FACTS.exists()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves tests marked `guest` out where there is no guest; the next hook says so."""
    if in_guest():
        return
    guest = [item for item in items if item.get_closest_marker("guest")]
    config.stash[_LEFT_OUT] = len(guest)
    if guest:
        config.hook.pytest_deselected(items=guest)
        items[:] = [item for item in items if item not in guest]


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    """The line about the tests that need a guest."""
    count = config.stash.get(_LEFT_OUT, 0)
    return f"left out {count} tests that need a guest; they run with: {HOW}" if count else None


@pytest.fixture(scope="session")
def guest_facts() -> dict[str, str]:
    """This guest: `kernel` (6.1, 6.12), `iommu` (yes, no), `accelerator` (kvm, multi, single)."""
    lines = GUEST_FACTS.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="session", autouse=True)
def kernel_log() -> Iterator[None]:
    """Fails the session when the guest's kernel warned, stalled or worse during it."""
    if not in_guest():
        yield
        return
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        yield
        found = console.trouble(_new_messages(descriptor))
    finally:
        os.close(descriptor)
    assert not found, "the guest's kernel complained:\n" + "\n".join(found)


def _new_messages(descriptor: int) -> str:
    """What /dev/kmsg got since the seek; EPIPE tells of records lost to newer ones."""
    records = []
    while True:
        try:
            records.append(os.read(descriptor, 8192).decode(errors="replace"))
        except BlockingIOError:
            return "".join(records)
        except BrokenPipeError:
            records.append("BUG: the kernel's log overflowed during the tests\n")
