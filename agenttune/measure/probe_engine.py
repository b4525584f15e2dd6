# SPDX-License-Identifier: GPL-2.0-only
"""The programs of one probe, loaded by libbpf, with what they have sampled."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agenttune.errors import HostError
from agenttune.measure import layout, probes
from agenttune.measure.bpf_engine import check_host, fill_params
from agenttune.measure.filter import Filter
from agenttune.measure.histogram import Histogram, merge
from agenttune.measure.libbpf import KernelTypes, Libbpf, Object, Program
from agenttune.measure.measurement import Coverage, Missing
from agenttune.measure.probe_hooks import (
    FAULT_FUNCTION,
    HOOKS,
    NO_FUNCTION,
    fault_waits,
    realtime_switches,
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
    """Attached from its making to close(); counts nothing until its window opens."""

    name = "libbpf"

    def __init__(self, probe: ProbeName, chosen: Filter, max_bytes: int, entries: int) -> None:
        """`entries`: how many histograms fit. Raises HostError as BpfEngine does."""
        check_host()
        self._parity = 0
        self._before = Coverage(0, 0, 0)
        with ExitStack() as stack:
            self._library = Libbpf()
            stack.callback(self._library.close)
            # A kernel that refuses to hook functions may say so only when they are attached.
            for function in (True, False) if probe is ProbeName.FAULT else (False,):
                attempt = stack.enter_context(ExitStack())
                try:
                    self._start(attempt, probe, chosen, max_bytes, entries, function)
                    self.times_function = function
                    break
                except OSError as error:
                    attempt.close()
                    if not function:
                        raise HostError(
                            f"the kernel refused the BPF programs ({error.strerror}):\n"
                            f"{self._library.log_tail()}",
                            hint="Report this with the lines above and the output of: uname -a",
                        ) from error
            self._stack = stack.pop_all()

    def open_window(self) -> None:
        self._before = self._totals()
        self._object.map(".data.window").set(0, Parity(1))

    def close_window(self) -> None:
        self._object.map(".data.window").set(0, Parity(0))

    def take(self) -> tuple[Sampled, ...]:
        """What was sampled since the window opened or since the last take."""
        old, self._parity = self._parity, 1 - self._parity
        self._object.map(".data.parity").set(0, Parity(self._parity))
        _wait_for_programs()
        samples = self._object.map("samples")
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
            missing=tuple(self._missing),
            coalesced=now.coalesced - before.coalesced,
        )

    def close(self) -> None:
        self._stack.close()

    def _start(
        self,
        stack: ExitStack,
        probe: ProbeName,
        chosen: Filter,
        max_bytes: int,
        entries: int,
        function: bool,
    ) -> None:
        self._missing: list[Missing] = []
        self._object = Object(self._library, OBJECT)
        stack.callback(self._object.close)
        loaded = self._choose_programs(probe, function)
        sizes = {"samples": entries, "requests": 16384, "cgroups": 8192}
        for name, size in sizes.items():
            self._object.map(name).resize(size)
        fill_params(self._object.map(".rodata.params").initial(layout.Params), chosen)
        choice = self._object.map(".rodata.chosen").initial(Chosen)
        choice.probe, choice.max_bytes = probe.number, max_bytes
        self._object.load()
        for program in loaded:
            self._object.attach(program)
        self._attached = loaded

    def _choose_programs(self, probe: ProbeName, function: bool) -> list[Program]:
        types = KernelTypes(self._library)
        try:
            exact = types.percpu_symbols_resolve()
            tracepoints, self._missing = probes.split(_hooks(probe, function), types.has_tracepoint)
        finally:
            types.close()
        if not exact and "softirq_raise" in tracepoints:
            self._missing.append(probes.NO_PERCPU_SYMBOLS)
        if function:
            tracepoints.add(FAULT_FUNCTION)
        elif probe is ProbeName.FAULT:
            self._missing.append(NO_FUNCTION)
        loaded = []
        for program in self._object.programs():
            if probes.program_is_wanted(program.name, program.tracepoint, tracepoints, exact):
                loaded.append(program)
            else:
                program.leave_out()
        return loaded

    def _totals(self) -> Coverage:
        cpus = self._object.map("probe_cpus").per_cpu(0, ProbeCpu)
        return Coverage(
            recursion_misses=sum(program.recursion_misses() for program in self._attached),
            lost=sum(cpu.lost for cpu in cpus),
            unpaired=sum(cpu.frames.unpaired for cpu in cpus),
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


def merged(samples: Iterable[Sampled]) -> list[Sampled]:
    """One for each key, over all CPUs, in the order of the keys."""
    groups: dict[tuple[Sample, int, int, str], list[Histogram]] = {}
    for each in samples:
        key = (each.sample, each.number, each.scope, each.name)
        groups.setdefault(key, []).append(each.histogram)
    return [Sampled(*key, merge(groups[key])) for key in sorted(groups)]


def _hooks(probe: ProbeName, function: bool) -> tuple[Probe, ...]:
    hooks = HOOKS[probe].probes
    if probe is ProbeName.FAULT and not function:
        hooks += (fault_waits(),)
    return hooks + (realtime_switches(probe) if probes.kernel_is_realtime() else ())


def _sampled(key: SampleKey, value: layout.BpfHistogram) -> Sampled:
    name = key.name.decode(errors="replace")
    return Sampled(Sample(key.sample), key.number, key.scope, name, value.value())


def _wait_for_programs() -> None:
    libc = ctypes.CDLL(None)
    if libc.syscall(_SYS_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL, 0, 0) != 0:
        time.sleep(_GRACE_S)
