# SPDX-License-Identifier: GPL-2.0-only
"""The engine: BPF programs on raw tracepoints, by libbpf or bcc."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from agenttune.errors import HostError
from agenttune.measure import layout, probes
from agenttune.measure.backend import LIBBPF, Backend, Kernel
from agenttune.measure.engine import Counters
from agenttune.measure.filter import Filter, in_initial_pid_namespace
from agenttune.measure.libbpf import Object
from agenttune.measure.loaded import Loaded
from agenttune.measure.readout import read_counters

OBJECT = Path(__file__).parent / "objects" / "agent.bpf.o"

# include/uapi/linux/capability.h.
_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39


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
        self._closed_ns = 0
        sizes = {**_map_sizes(), **(entries or {})}

        def choose(kernel: Kernel) -> probes.Hooks:
            wanted = probes.wanted(bool(chosen), probes.kernel_is_realtime())
            exact = kernel.percpu_symbols_resolve()
            return probes.hooks(wanted, kernel.has_tracepoint, exact, seeded=bool(chosen))

        self._loaded = Loaded(path, backend, choose, lambda maps: prepare(maps, sizes, chosen))

    def open_window(self) -> None:
        self._loaded.open_window()

    def close_window(self) -> None:
        self._loaded.close_window()
        self._closed_ns = time.monotonic_ns()

    def counters(self) -> Counters:
        now_ns = self._closed_ns or time.monotonic_ns()
        misses = self._loaded.recursion_misses()
        return read_counters(self._loaded.object, now_ns, misses, tuple(self._loaded.missing))

    def close(self) -> None:
        self._loaded.close()


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


def prepare(maps: Object, sizes: Mapping[str, int], chosen: Filter) -> None:
    """Size an object's maps by name, and tell its programs who the agents are."""
    for name, size in sizes.items():
        maps.map(name).resize(size)
    fill_params(maps.map(".rodata.params").initial(layout.Params), chosen)


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
