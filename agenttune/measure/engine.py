# SPDX-License-Identifier: GPL-2.0-only
"""Engine: what loads the probes, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agenttune.measure.filter import Filter
from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import AgentLoad, ArchLoad, Coverage


@dataclass(frozen=True, slots=True)
class IrqCounters:
    """One IRQ number on one CPU: interrupts, and the time of each handler run."""

    irq: int
    cpu: int
    count: int
    times: Histogram


@dataclass(frozen=True, slots=True)
class SoftirqCounters:
    """One softirq vector on one CPU; `latencies` are raise→entry."""

    vector: str
    cpu: int
    count: int
    ksoftirqd_ns: int
    times: Histogram
    latencies: Histogram


@dataclass(frozen=True, slots=True)
class NapiCounters:
    """One device's polls on one CPU. `netns` is its namespace's inode; 0 for the backlog."""

    device: str
    netns: int
    cpu: int
    polls: int
    exhausted: int
    packets: Histogram


@dataclass(frozen=True, slots=True)
class Counters:
    """What an engine counted since its window opened. `wakeups` is by the waker's context."""

    irqs: tuple[IrqCounters, ...]
    archs: tuple[ArchLoad, ...]
    softirqs: tuple[SoftirqCounters, ...]
    napis: tuple[NapiCounters, ...]
    agents: tuple[AgentLoad, ...]
    wakeups: Mapping[str, Histogram]
    coverage: Coverage


class Engine(Protocol):
    """Probes that are attached and count nothing until their window opens.

    The window opens and closes once; `counters` may be called at any time after it opened.
    """

    @property
    def name(self) -> str: ...

    def open_window(self) -> None: ...

    def close_window(self) -> None: ...

    def counters(self) -> Counters: ...

    def close(self) -> None:
        """Detach and free everything."""


def open_engine(chosen: Filter, engine: str = "auto") -> Engine:
    """Attach the probes of the engine that fits this host, or of the one that is asked for.

    `chosen` says which tasks are agents. Raises HostError saying what the host lacks.
    """
    from agenttune.measure.backend import choose
    from agenttune.measure.bpf_engine import BpfEngine

    return BpfEngine(chosen, backend=choose(engine))
