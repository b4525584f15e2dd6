# SPDX-License-Identifier: GPL-2.0-only
"""Whether tests run in a guest of the VM lab, and what its kernel logs meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm.lab import console

GUEST_FACTS = Path("/run/agenttune-guest")
_PYTEST = "$AGENTTUNE_CACHE/venv/bin/python -m pytest"
# Marks of tests that need a guest, the narrower first, and how such tests are run.
HOW_TO_RUN = {
    "kmod": f"vm/run --single -- {_PYTEST} tests/kmod",
    "guest": f"vm/run -- {_PYTEST} tests/vm",
}


def in_guest() -> bool:
    """Whether this is a guest of the VM lab; vm/guest/session puts the file there."""
    return GUEST_FACTS.exists()


def guest_pairs() -> dict[str, str]:
    """This guest: `kernel` (6.1, 6.12 …), `iommu` (yes, no), `accelerator` (kvm, multi …)."""
    lines = GUEST_FACTS.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


class KernelLog:
    """The kernel's messages since this was made, or since they were last asked for."""

    def __init__(self) -> None:
        self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def close(self) -> None:
        """Ends the use of the log."""
        os.close(self._descriptor)

    def new_messages(self) -> str:
        """The records that came since; EPIPE tells of records lost to newer ones."""
        records = []
        while True:
            try:
                records.append(os.read(self._descriptor, 8192).decode(errors="replace"))
            except BlockingIOError:
                return "".join(records)
            except BrokenPipeError:
                records.append("BUG: the kernel's log overflowed during the tests\n")


@contextmanager
def quiet_kernel() -> Iterator[None]:
    """Fails when the kernel warned, stalled or worse within; shows its words from there on."""
    log = KernelLog()
    try:
        yield
        said = log.new_messages()
    finally:
        log.close()
    found = console.trouble(said)
    assert not found, f"the guest's kernel complained:\n{complaint(said)}"


def complaint(said: str, lines: int = 80) -> str:
    """The messages from the first trouble on, without the prefixes of /dev/kmsg."""
    texts = [line.partition(";")[2] or line for line in said.splitlines()]
    first = next(place for place, text in enumerate(texts) if console.trouble(text))
    return "\n".join(texts[max(0, first - 2) : first + lines])
