# SPDX-License-Identifier: GPL-2.0-only
"""The programs of one probe, with what they have sampled."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agenttune.errors import HostError
from agenttune.measure import layout, probes
from agenttune.measure.backend import LIBBPF, Backend, Kernel
from agenttune.measure.bpf_engine import check_host, prepare
from agenttune.measure.filter import Filter
from agenttune.measure.histogram import Histogram
from agenttune.measure.libbpf import Object
from agenttune.measure.loaded import Loaded
from agenttune.measure.measurement import Coverage
from agenttune.measure.probe_hooks import (
    FAULT_FUNCTION,
    FAULT_HOOKS,
    NO_FUNCTION,
    tracepoints_of,
)
from agenttune.measure.probe_layout import Chosen, Parity, ProbeCpu, ProbeName, Sample, SampleKey
from agenttune.measure.probes import Probe

OBJECT = Path(__file__).parent / "objects" / "probe.bpf.o"

# x86-64 number of membarrier(2); MEMBARRIER_CMD_GLOBAL waits for synchronize_rcu(), so that no
# program that began before it still runs (kernel/sched/membarrier.c, v6.12).
_SYS_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL = 324, 1
# Where nohz_full CPUs rule membarrier out: far longer than a program runs.
_GRACE_S = 0.05


@dataclass(frozen=True, slots=True)
class Sampled:
    """One histogram of one CPU; the members are those of struct at_sample_key."""

    sample: Sample
    number: int
    scope: int
    name: str
    histogram: Histogram


class ProbeEngine:
    """Attached from its making to close(); counts nothing until its window opens.

    `times_function`: page faults are timed by the function that handles them.
    """

    def __init__(
        self,
        probe: ProbeName,
        chosen: Filter,
        max_bytes: int,
        entries: int,
        backend: Backend = LIBBPF,
    ) -> None:
        """`entries`: how many histograms fit. Raises HostError as BpfEngine does."""
        check_host(backend)
        self.name = backend.name
        self._backend = backend
        self._parity = 0
        self._choice = Chosen(probe.number, max_bytes)
        self._agents = chosen
        self._sizes = {"samples": entries, "requests": 16384, "cgroups": 8192}
        hooked = self._load_hooked() if probe is ProbeName.FAULT else None
        self.times_function = hooked is not None
        self._loaded = hooked or self._load(tracepoints_of(probe))
        self._before = self._totals()

    def open_window(self) -> None:
        self._loaded.open_window()
        self._before = self._totals()

    def close_window(self) -> None:
        self._loaded.close_window()

    def take(self) -> tuple[Sampled, ...]:
        """What was sampled since the window opened or since the last take."""
        old, self._parity = self._parity, 1 - self._parity
        self._loaded.object.map(".data.parity").set(0, Parity(self._parity))
        _wait_for_programs()
        samples = self._loaded.object.map("samples")
        taken = []
        for key, value in list(samples.items(SampleKey, layout.BpfHistogram)):
            if key.parity == old:
                taken.append(_sampled(key, value))
                samples.delete(key)
        return tuple(taken)

    def coverage(self) -> Coverage:
        """Of the time since the window opened, or since this was asked last."""
        now, before = self._totals(), self._before
        self._before = now
        return Coverage(
            recursion_misses=now.recursion_misses - before.recursion_misses,
            lost=now.lost - before.lost,
            unpaired=now.unpaired - before.unpaired,
            missing=now.missing,
            coalesced=now.coalesced - before.coalesced,
        )

    def close(self) -> None:
        self._loaded.close()

    def _load_hooked(self) -> Loaded | None:
        """None where the kernel refuses to hook the function, at loading or at attaching."""
        if self._backend is not LIBBPF:
            return None
        try:
            loaded = self._load(FAULT_HOOKS)
        except HostError:
            return None
        if any(each.probe == FAULT_FUNCTION for each in loaded.missing):
            loaded.close()
            return None
        return loaded

    def _load(self, table: tuple[Probe, ...]) -> Loaded:
        return Loaded(OBJECT, self._backend, lambda kernel: _choose(kernel, table), self._prepare)

    def _prepare(self, maps: Object) -> None:
        prepare(maps, self._sizes, self._agents)
        choice = maps.map(".rodata.chosen").initial(Chosen)
        choice.probe, choice.max_bytes = self._choice.probe, self._choice.max_bytes

    def _totals(self) -> Coverage:
        cpus = self._loaded.object.map("probe_cpus").per_cpu(0, ProbeCpu)
        missing = list(self._loaded.missing)
        if self._choice.probe == ProbeName.FAULT.number and not self.times_function:
            missing.append(NO_FUNCTION)
        return Coverage(
            recursion_misses=self._loaded.recursion_misses(),
            lost=sum(cpu.lost for cpu in cpus),
            unpaired=sum(cpu.frames.unpaired for cpu in cpus),
            missing=tuple(missing),
            coalesced=sum(cpu.coalesced for cpu in cpus),
        )


def room(probe: ProbeName) -> int:
    """How many histograms a probe may need at once: 4 KB of kernel memory each."""
    cpus = os.cpu_count() or 1
    vectors = sum(entry.name.isdigit() for entry in Path("/proc/irq").iterdir())
    disks = len(list(Path("/sys/block").iterdir()))
    needed: Mapping[ProbeName, int] = {
        ProbeName.IRQ: 2 * vectors + 8 * cpus,
        ProbeName.SOFTIRQ: 24 * cpus,
        ProbeName.WAKEUP: 16 * cpus,
        ProbeName.SYSCALL: 64 * cpus,
        ProbeName.BLOCK: 4 * disks * cpus,
        ProbeName.FAULT: 16 * cpus,
        ProbeName.IRQ_TO_RUN: 32 * cpus,
    }
    # Twice: one interval is read while the next one fills.
    return 2 * min(needed[probe] + 256, 8192)


def _choose(kernel: Kernel, table: tuple[Probe, ...]) -> probes.Hooks:
    """The variables that only raises and chains read are missed only there."""
    exact = kernel.percpu_symbols_resolve()
    tracepoints = {name for each in table for name in each.tracepoints}
    found = probes.hooks(
        table, lambda name: name == FAULT_FUNCTION or kernel.has_tracepoint(name), exact, False
    )
    if "softirq_raise" in tracepoints:
        return found
    missing = tuple(each for each in found.missing if each != probes.NO_PERCPU_SYMBOLS)
    return replace(found, missing=missing)


def _sampled(key: SampleKey, value: layout.BpfHistogram) -> Sampled:
    name = key.name.decode(errors="replace")
    return Sampled(Sample(key.sample), key.number, key.scope, name, value.value())


def _wait_for_programs() -> None:
    libc = ctypes.CDLL(None)
    if libc.syscall(_SYS_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL, 0, 0) != 0:
        time.sleep(_GRACE_S)
