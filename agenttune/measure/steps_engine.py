# SPDX-License-Identifier: GPL-2.0-only
"""The engine of `agenttune steps`: marks, waits and interrupts into samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agenttune.errors import HostError
from agenttune.measure.backend import LIBBPF, Backend
from agenttune.measure.bpf_engine import check_host, prepare
from agenttune.measure.filter import Filter
from agenttune.measure.histogram import merge
from agenttune.measure.libbpf import Object
from agenttune.measure.loaded import Loaded
from agenttune.measure.measurement import Coverage, Missing
from agenttune.measure.ring import Ring
from agenttune.measure.steps_layout import BpfKindFigures, BpfLegFigures, Core, Floor, Tally
from agenttune.measure.steps_probes import FAULT_FUNCTION, NO_FAULTS, choose
from agenttune.measure.trace import LEGS, KindFigures, LegFigures, StepCoverage, StepKind

OBJECT = Path(__file__).parent / "objects" / "steps.bpf.o"


@dataclass(frozen=True, slots=True)
class StepsFigures:
    """What the kernel side counted since the window opened."""

    kinds: tuple[KindFigures, ...]
    legs: tuple[LegFigures, ...]
    coverage: StepCoverage


class StepsEngine(Protocol):
    """Probes that are attached and see nothing until their window opens; it opens once.

    `take` gives the samples since the last take, as bytes of struct at_step_sample and
    at_wait_sample; it must be called often enough that the ring does not fill.
    """

    @property
    def name(self) -> str: ...

    def open_window(self) -> None: ...

    def close_window(self) -> None: ...

    def take(self) -> list[bytes]: ...

    def keep_from(self, kind: StepKind, ns: int) -> None:
        """From here on, shorter steps of this kind only count: they send no samples."""

    def figures(self) -> StepsFigures: ...

    def close(self) -> None:
        """Detach and free everything."""


class BpfSteps:
    """See StepsEngine. `entries` overrides the maps' sizes.

    `times_faults`: time in page faults is told apart.
    """

    def __init__(
        self,
        chosen: Filter,
        syscalls: bool = False,
        backend: Backend = LIBBPF,
        entries: Mapping[str, int] | None = None,
    ) -> None:
        """Raises HostError as BpfEngine does."""
        check_host(backend)
        self.name = backend.name
        self._chosen, self._syscalls, self._backend = chosen, syscalls, backend
        self._sizes = {"cgroups": 8192, "bound": 16384, "records": _ring_bytes()}
        self._sizes.update(entries or {})
        hooked = self._load_hooked() if syscalls else None
        self.times_faults = hooked is not None
        with ExitStack() as stack:
            self._loaded = hooked or self._load(faults=False)
            stack.callback(self._loaded.close)
            records = self._loaded.object.map("records")
            self._ring = Ring(records.fd(), records.number("max_entries"))
            stack.callback(self._ring.close)
            self._stack = stack.pop_all()

    def open_window(self) -> None:
        self._loaded.open_window()

    def close_window(self) -> None:
        self._loaded.close_window()

    def take(self) -> list[bytes]:
        return self._ring.take()

    def keep_from(self, kind: StepKind, ns: int) -> None:
        self._loaded.object.map("floors").set(tuple(StepKind).index(kind), Floor(ns))

    def figures(self) -> StepsFigures:
        maps = self._loaded.object
        cores = maps.map("cores").per_cpu(0, Core)
        return StepsFigures(
            tuple(_kind_figures(maps, index, kind) for index, kind in enumerate(StepKind)),
            tuple(_leg_figures(maps, index, leg) for index, leg in enumerate(LEGS)),
            self._coverage(cores),
        )

    def close(self) -> None:
        self._stack.close()

    def _load(self, faults: bool) -> Loaded:
        return Loaded(
            OBJECT,
            self._backend,
            lambda kernel: choose(kernel, self._syscalls, faults),
            lambda maps: prepare(maps, self._sizes, self._chosen),
        )

    def _load_hooked(self) -> Loaded | None:
        """None where the kernel refuses to hook a function, at loading or at attaching."""
        if self._backend is not LIBBPF:
            return None
        try:
            loaded = self._load(faults=True)
        except HostError:
            return None
        if any(each.probe == FAULT_FUNCTION for each in loaded.missing):
            loaded.close()
            return None
        return loaded

    def _missing(self) -> tuple[Missing, ...]:
        refused = self._syscalls and not self.times_faults
        return (*self._loaded.missing, *((NO_FAULTS,) if refused else ()))

    def _coverage(self, cores: list[Core]) -> StepCoverage:
        def total(name: str) -> int:
            return sum(getattr(core.tally, name) for core in cores)

        return StepCoverage(
            probes=Coverage(
                recursion_misses=self._loaded.recursion_misses(),
                lost=total("lost"),
                unpaired=sum(core.frames.unpaired for core in cores),
                missing=self._missing(),
                coalesced=total("coalesced"),
            ),
            unfinished=total("begun") - total("ended"),
            **{name: total(name) for name in _TALLIES},
        )


_TALLIES = tuple(
    field[0] for field in Tally._fields_ if field[0] in StepCoverage.__dataclass_fields__
)


def _ring_bytes() -> int:
    """Room for some thousand steps with all their waits; more CPUs make more."""
    size = 1 << 22
    while size < (os.cpu_count() or 1) << 19:
        size <<= 1
    return size


def _kind_figures(maps: Object, index: int, kind: StepKind) -> KindFigures:
    figures = maps.map("kinds").per_cpu(index, BpfKindFigures)
    return KindFigures(
        kind,
        sum(each.count for each in figures),
        merge(each.durations.value() for each in figures),
        tuple(sum(column) for column in zip(*(each.buckets_ns for each in figures), strict=True)),
    )


def _leg_figures(maps: Object, index: int, leg: str) -> LegFigures:
    figures = maps.map("legs").per_cpu(index, BpfLegFigures)
    return LegFigures(leg, merge(each.durations.value() for each in figures))
