# SPDX-License-Identifier: GPL-2.0-only
"""The engine: BPF programs on raw tracepoints, by libbpf or bcc."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from ctypes import Structure, c_uint32
from pathlib import Path

from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.measure import layout, probes
from agenttune.measure.backend import LIBBPF, Backend
from agenttune.measure.engine import Counters
from agenttune.measure.filter import Filter, in_initial_pid_namespace
from agenttune.measure.libbpf import Libbpf, Program
from agenttune.measure.measurement import Missing
from agenttune.measure.readout import read_counters

OBJECT = Path(__file__).parent / "objects" / "agent.bpf.o"

_ONLINE = Path("/sys/devices/system/cpu/online")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
# include/uapi/linux/capability.h.
_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39


class _Window(Structure):
    _fields_ = (("open", c_uint32),)


class BpfEngine:
    """See Engine. `entries` overrides the maps' sizes, `path` the object file."""

    def __init__(
        self,
        chosen: Filter,
        entries: Mapping[str, int] | None = None,
        path: Path = OBJECT,
        backend: Backend = LIBBPF,
    ) -> None:
        """Raises HostError: no libbpf, no privilege, no object, a refusal to load, or what the
        backend needs (BTF; bcc with the kernel's headers)."""
        check_host(backend)
        self.name = backend.name
        self._backend = backend
        self._closed_ns = 0
        self._misses_before = 0
        self._seed: Program | None = None
        self._attached: list[Program] = []
        self._missing: list[Missing] = []
        with ExitStack() as stack:
            self._library = Libbpf()
            stack.callback(self._library.close)
            try:
                self._object = backend.open(self._library, path)
                stack.callback(self._object.close)
                self._start(chosen, {**_map_sizes(), **(entries or {})})
            except OSError as error:
                raise self._refusal(error) from error
            self._stack = stack.pop_all()

    def open_window(self) -> None:
        self._misses_before = self._recursion_misses()
        self._set_window(True)
        if self._seed:
            for cpu in CpuMask.parse_list(_ONLINE.read_text()):
                _run_if_online(self._seed, cpu)

    def close_window(self) -> None:
        self._set_window(False)
        self._closed_ns = time.monotonic_ns()

    def counters(self) -> Counters:
        now_ns = self._closed_ns or time.monotonic_ns()
        misses = self._recursion_misses() - self._misses_before
        return read_counters(self._object, now_ns, misses, tuple(self._missing))

    def close(self) -> None:
        self._stack.close()

    def _start(self, chosen: Filter, entries: Mapping[str, int]) -> None:
        loaded = self._choose_programs(bool(chosen))
        for name, size in entries.items():
            self._object.map(name).resize(size)
        fill_params(self._object.map(".rodata.params").initial(layout.Params), chosen)
        self._object.load()
        for program in loaded:
            self._attach(program)

    def _set_window(self, opened: bool) -> None:
        self._object.map(".data.window").set(0, _Window(opened))

    def _choose_programs(self, has_agents: bool) -> list[Program]:
        """Leave out what this kernel or this measurement has no use for."""
        kernel = self._backend.kernel(self._library)
        try:
            exact = kernel.percpu_symbols_resolve()
            wanted = probes.wanted(has_agents, probes.kernel_is_realtime())
            tracepoints, missing = probes.split(wanted, kernel.has_tracepoint)
        finally:
            kernel.close()
        self._missing += missing if exact else [*missing, probes.NO_PERCPU_SYMBOLS]
        loaded = []
        for program in self._object.programs():
            if program.name == probes.SEED and has_agents:
                self._seed = program
            elif probes.program_is_wanted(program.name, program.tracepoint, tracepoints, exact):
                loaded.append(program)
            else:
                program.leave_out()
        return loaded

    def _attach(self, program: Program) -> None:
        try:
            self._object.attach(program)
        except OSError as error:
            reason = f"the kernel refused it: {error.strerror}"
            consequence = probes.consequence(program.tracepoint)
            self._missing.append(Missing(program.tracepoint, reason, consequence))
        else:
            self._attached.append(program)

    def _recursion_misses(self) -> int:
        return sum(program.recursion_misses() for program in self._attached)

    def _refusal(self, error: OSError) -> HostError:
        hint = "Report this with the lines above and the output of: uname -a"
        if _LOCKDOWN.exists() and "[confidentiality]" in _LOCKDOWN.read_text():
            hint = "Kernel lockdown is 'confidentiality', which forbids BPF; boot without it."
        return HostError(
            f"the kernel refused the BPF programs ({error.strerror}):\n{self._library.log_tail()}",
            hint=hint,
        )


def check_host(backend: Backend = LIBBPF) -> None:
    """Raises HostError where BPF programs cannot be loaded."""
    backend.check()
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    may_trace = held >> _CAP_BPF & 1 and held >> _CAP_PERFMON & 1
    if not (may_trace or held >> _CAP_SYS_ADMIN & 1):
        raise HostError(
            "measuring loads BPF programs, and this process may not",
            hint="Run as root, or give CAP_BPF and CAP_PERFMON.",
        )


def _run_if_online(program: Program, cpu: int) -> None:
    try:
        program.run_on(cpu)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


def _map_sizes() -> dict[str, int]:
    """Room for every vector on two CPUs, and for what comes up inside the window."""
    cpus = os.cpu_count() or 1
    vectors = sum(entry.name.isdigit() for entry in Path("/proc/irq").iterdir())
    return {
        "irqs": 2 * vectors + 4 * cpus + 64,
        "napis": 4 * cpus + 64,
        "agents": 16 * cpus + 4096,
        "cgroups": 8192,
    }


def fill_params(params: layout.Params, chosen: Filter) -> None:
    """Tell the programs who the agents are."""
    for index, comm in enumerate(chosen.comms):
        params.comms[index].value = comm
    params.tgids[: len(chosen.tgids)] = chosen.tgids
    params.cgroups[: len(chosen.cgroups)] = chosen.cgroups
    params.self_tgid = os.getpid() if in_initial_pid_namespace() else 0
    params.nr_comms = len(chosen.comms)
    params.nr_tgids = len(chosen.tgids)
    params.nr_cgroups = len(chosen.cgroups)
