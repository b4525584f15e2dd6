# SPDX-License-Identifier: GPL-2.0-only
"""The guardrail as an operator sees it: two sysctls, and a debugfs file of counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import debug_lines

SYSCTLS = Path("/proc/sys/kernel/agent_latency")
PACKETS = "agent_napi_budget"
NS = "agent_softirq_budget_ns"
_NAMED = "agent_cpus"


@dataclass(frozen=True)
class Counts:
    """What one CPU did: as an agent CPU, as another, by NAPI threads, by busy polling."""

    numbers: dict[str, int]
    sizes: dict[int, int]  # net_rx_action() calls by packets: from the key to less than its double

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]


@dataclass(frozen=True)
class Report:
    """The debugfs file."""

    settings: dict[str, int]
    counts: dict[tuple[int, str], Counts]  # by CPU and kind

    def of(self, kind: str) -> dict[int, Counts]:
        """By CPU."""
        return {cpu: counts for (cpu, found), counts in self.counts.items() if found == kind}


def report() -> Report:
    """The counts now."""
    first, *lines = debug_lines("guardrail")
    counts = {}
    for words in lines:
        cpu, kind = int(words.pop("cpu")), words.pop("kind")
        sizes = [pair.split(":") for pair in words.pop("sizes", "").split(",") if pair]
        numbers = {name: int(value) for name, value in words.items()}
        counts[cpu, kind] = Counts(numbers, {int(size): int(count) for size, count in sizes})
    return Report({name: int(value) for name, value in first.items()}, counts)


def bound(name: str) -> int:
    """The bound now."""
    return int((SYSCTLS / name).read_text())


def set_bound(name: str, value: object) -> None:
    """By one write(), whose errno stays visible."""
    _write(SYSCTLS / name, f"{value}\n")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


@contextmanager
def bounded(packets: int = 0, ns: int = 0, cpus: str = "1") -> Iterator[None]:
    """`cpus` (a list) are agent CPUs and have these bounds meanwhile."""
    _write(SYSCTLS / _NAMED, f"{cpus}\n")
    try:
        set_bound(PACKETS, packets)
        set_bound(NS, ns)
        yield
    finally:
        if SYSCTLS.exists():
            set_bound(PACKETS, 0)
            set_bound(NS, 0)
            _write(SYSCTLS / _NAMED, "\n")
