# SPDX-License-Identifier: GPL-2.0-only
"""The guardrail as an operator sees it: two sysctls, and a debugfs file of counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from client import SYSCTLS, debug_lines, set_sysctl

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


@contextmanager
def bounded(packets: int = 0, ns: int = 0, cpus: str = "1") -> Iterator[None]:
    """`cpus` (a list) are agent CPUs and have these bounds meanwhile."""
    set_sysctl(_NAMED, cpus)
    try:
        set_sysctl(PACKETS, packets)
        set_sysctl(NS, ns)
        yield
    finally:
        if SYSCTLS.exists():
            set_sysctl(PACKETS, 0)
            set_sysctl(NS, 0)
            set_sysctl(_NAMED, "")
