# SPDX-License-Identifier: GPL-2.0-only
"""One BPF object with its programs attached, whose window opens and closes once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from ctypes import Structure, c_uint32
from pathlib import Path

from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.measure.backend import Backend, Kernel
from agenttune.measure.libbpf import Libbpf, Object, Program
from agenttune.measure.measurement import Missing
from agenttune.measure.probes import FREED, SEED, Hooks

_ONLINE = Path("/sys/devices/system/cpu/online")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


class _Number(Structure):
    _fields_ = (("value", c_uint32),)


class Loaded:
    """Attached from its making to close(). `missing`: what this kernel lacks."""

    def __init__(
        self,
        path: Path,
        backend: Backend,
        choose: Callable[[Kernel], Hooks],
        prepare: Callable[[Object], None],
    ) -> None:
        """`prepare` sizes the maps, and fills the parameters, before loading.

        Raises HostError: no libbpf, no object, or a refusal to load.
        """
        self._misses_before = 0
        self._seed: Program | None = None
        self._attached: list[Program] = []
        with ExitStack() as stack:
            self._library = Libbpf()
            stack.callback(self._library.close)
            try:
                self.object = backend.open(self._library, path)
                stack.callback(self.object.close)
                self._start(self._hooks(backend, choose), prepare)
            except OSError as error:
                raise _refusal(error, self._library.log_tail()) from error
            self._stack = stack.pop_all()

    def open_window(self) -> None:
        self._misses_before = self._all_misses()
        self._set_window(True)
        if self._seed:
            for cpu in CpuMask.parse_list(_ONLINE.read_text()):
                _run_if_online(self._seed, cpu)

    def close_window(self) -> None:
        self._set_window(False)

    def recursion_misses(self) -> int:
        """Runs that the kernel skipped since the window opened."""
        return self._all_misses() - self._misses_before

    def close(self) -> None:
        self._stack.close()

    def _hooks(self, backend: Backend, choose: Callable[[Kernel], Hooks]) -> Hooks:
        kernel = backend.kernel(self._library)
        try:
            hooks, by_tid = choose(kernel), not kernel.finds_task_storage()
        finally:
            kernel.close()
        if not by_tid:
            return hooks
        self._key_by_tid()
        return hooks.and_probe(FREED)

    def _start(self, hooks: Hooks, prepare: Callable[[Object], None]) -> None:
        self.missing = list(hooks.missing)
        chosen = self._choose_programs(hooks)
        prepare(self.object)
        self.object.load()
        for program in chosen:
            self._attach(program, hooks)

    def _key_by_tid(self) -> None:
        """Find threads by their ids, not in their task storage."""
        self.object.map(".rodata.by_tid").initial(_Number).value = 1
        for each in self.object.maps():
            each.key_by_tid()

    def _choose_programs(self, hooks: Hooks) -> list[Program]:
        """Leave out what this kernel or this measurement has no use for."""
        chosen = []
        for program in self.object.programs():
            if program.name == SEED and hooks.seeded:
                self._seed = program
            elif hooks.want(program.name, program.tracepoint):
                chosen.append(program)
            else:
                program.leave_out()
        return chosen

    def _attach(self, program: Program, hooks: Hooks) -> None:
        try:
            self.object.attach(program)
        except OSError as error:
            reason = f"the kernel refused it: {error.strerror}"
            lost = hooks.consequence(program.tracepoint)
            self.missing.append(Missing(program.tracepoint, reason, lost))
        else:
            self._attached.append(program)

    def _set_window(self, opened: bool) -> None:
        self.object.map(".data.window").set(0, _Number(opened))

    def _all_misses(self) -> int:
        return sum(program.recursion_misses() for program in self._attached)


def _run_if_online(program: Program, cpu: int) -> None:
    try:
        program.run_on(cpu)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


def _refusal(error: OSError, log: str) -> HostError:
    hint = "Report this with the lines above and the output of: uname -a"
    if _LOCKDOWN.exists() and "[confidentiality]" in _LOCKDOWN.read_text():
        hint = "Kernel lockdown is 'confidentiality', which forbids BPF; boot without it."
    return HostError(
        f"the kernel refused the BPF programs ({error.strerror}):\n{log}",
        hint=hint,
    )
