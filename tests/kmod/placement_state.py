# SPDX-License-Identifier: GPL-2.0-only
"""Where interrupts are and land, by /proc; and what debugfs agent_latency/placement says of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client import DEBUGFS, debug_lines, set_sysctl
from debug_kernel import paced

from vm.scene import interfaces

IRQS = Path("/proc/irq")
# A guest that stands still for that long is broken, whatever its windows are.
_PATIENCE_SECONDS = 90.0

Line = dict[str, str]


def lines() -> list[Line]:
    """The file's lines as words; `action`, the last of its line, keeps its first word."""
    return debug_lines("placement")


def head() -> dict[str, int | str]:
    """Mode, windows and totals."""
    words: dict[str, int | str] = {}
    for line in lines():
        if "irq" not in line and "cpu" not in line:
            words |= {key: int(text) if text.isdigit() else text for key, text in line.items()}
    return words


def windows() -> int:
    return int(head()["windows"])


def total(name: str) -> int:
    return int(head()[name])


def vector(irq: int) -> Line:
    return next(line for line in lines() if line.get("irq") == str(irq))


def masks() -> dict[int, str]:
    """Interrupt → smp_affinity of every interrupt of the machine."""
    found = {}
    for path in sorted(IRQS.glob("*/smp_affinity")):
        found[int(path.parent.name)] = path.read_text().strip()
    return found


def effective(irq: int) -> str:
    return interfaces.effective_affinity(irq)


def landed(irqs: list[int], seconds: float) -> dict[int, set[int]]:
    """Interrupt → CPUs that took it in the next `seconds`, by /proc/interrupts."""
    before = {irq: interfaces.counts(irq) for irq in irqs}
    time.sleep(seconds)
    after = {irq: interfaces.counts(irq) for irq in irqs}
    return {
        irq: {
            cpu
            for cpu, (old, new) in enumerate(zip(before[irq], after[irq], strict=True))
            if new > old
        }
        for irq in irqs
    }


def windows_until(check: Callable[[], bool], most: int) -> int:
    """How many windows ended until `check` held; fails after `most`."""
    begun = windows()
    deadline = time.monotonic() + paced(_PATIENCE_SECONDS)
    while not check():
        passed = windows() - begun
        if passed > most or time.monotonic() > deadline:
            state = (DEBUGFS / "placement").read_text()
            raise AssertionError(f"not so after {passed} windows:\n{state}")
        time.sleep(0.02)
    return windows() - begun


def wait_windows(count: int) -> None:
    """Until `count` more windows have ended."""
    begun = windows()
    deadline = time.monotonic() + paced(_PATIENCE_SECONDS)
    while windows() - begun < count:
        assert time.monotonic() < deadline, "no windows end any more"
        time.sleep(0.02)


@contextmanager
def placing(mode: str, *, window_ms: int = 200, quiet_pct: int = 100) -> Iterator[None]:
    """That mode meanwhile; defaults afterwards. The windows are longer where all is slow."""
    set_sysctl("placement_window_ms", round(paced(window_ms)))
    set_sysctl("placement_quiet_pct", quiet_pct)
    set_sysctl("placement", mode)
    try:
        yield
    finally:
        set_sysctl("placement", "off")
        set_sysctl("placement_window_ms", 100)
        set_sysctl("placement_quiet_pct", 25)


@contextmanager
def virtio_put_right() -> Iterator[None]:
    """virtio-net writes masks of its own when CPUs come and go; the module leaves those."""
    found = masks()
    try:
        yield
    finally:
        for irq, mask in masks().items():
            if mask != found[irq] and "virtio" in interfaces.action(irq):
                (IRQS / str(irq) / "smp_affinity").write_text(found[irq])
