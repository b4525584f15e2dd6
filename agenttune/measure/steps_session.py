# SPDX-License-Identifier: GPL-2.0-only
"""Records one window of steps around a workload."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from agenttune.host.host import Host
from agenttune.host.selector import Selector
from agenttune.host.tree import Tree
from agenttune.host.virtual import on_hypervisor
from agenttune.measure import attribution
from agenttune.measure.backend import choose
from agenttune.measure.filter import in_initial_pid_namespace, resolve
from agenttune.measure.keeper import SLOWEST, Keeper
from agenttune.measure.steps_engine import BpfSteps
from agenttune.measure.trace import StepCoverage, Trace

# The ring holds what comes in this time several times over; see steps_engine.
_TAKE_S = 0.05


class StepsSession:
    """Probes attached from entry to exit; the window opens at entry and closes once.

    Threads that mark steps are watched from their first mark; with selectors, only selected ones
    are, and from the start. Call `take()` about every 0.05 s. `keep_all` keeps each step's record,
    else the slowest of each kind. Entry raises HostError and InputError.
    """

    def __init__(
        self,
        selectors: Sequence[Selector] = (),
        host: Host | None = None,
        engine: str = "auto",
        syscalls: bool = False,
        keep_all: bool = False,
    ) -> None:
        self._selectors = tuple(selectors)
        self._host = host
        self._wanted = engine
        self._syscalls = syscalls
        self._keeper = Keeper(None if keep_all else SLOWEST)
        self._floors: dict[object, int] = {}
        self._closed_ns: int | None = None

    def __enter__(self) -> StepsSession:
        with ExitStack() as stack:
            self._engine = BpfSteps(resolve(self._selectors), self._syscalls, choose(self._wanted))
            stack.callback(self._engine.close)
            self._opened_ns = time.monotonic_ns()
            self._engine.open_window()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def take(self) -> None:
        """Move what the kernel has recorded out of the ring."""
        self._keeper.add(self._engine.take())
        for kind, ns in self._keeper.floors().items():
            if self._floors.get(kind) != ns:
                self._engine.keep_from(kind, ns)
                self._floors[kind] = ns

    def drain(self) -> list[list[bytes]]:
        """The samples of each step since the last drain, for long windows; see Keeper.groups()."""
        self.take()
        found, self._keeper = self._keeper.groups(), Keeper(None)
        return found

    def coverage(self) -> StepCoverage:
        """Of the window so far."""
        return self._engine.figures().coverage

    def stop(self) -> None:
        """Close the window: nothing counts from here on. A second call does nothing."""
        if self._closed_ns is None:
            self._engine.close_window()
            self._closed_ns = time.monotonic_ns()

    def read(self) -> Trace:
        """The window, or its part so far."""
        self.take()
        figures = self._engine.figures()
        steps = attribution.steps(self._keeper.groups())
        return Trace(
            begin_ns=self._opened_ns,
            end_ns=self._closed_ns or time.monotonic_ns(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            kernel=os.uname().release,
            engine=self._engine.name,
            selectors=tuple(str(selector) for selector in self._selectors),
            online=Path("/sys/devices/system/cpu/online").read_text().strip(),
            syscalls=self._syscalls,
            faults=self._engine.times_faults,
            steps=steps,
            kinds=figures.kinds,
            legs=figures.legs,
            vectors=attribution.vectors(self._host) if self._host else (),
            names=attribution.names(steps) if in_initial_pid_namespace() else (),
            coverage=figures.coverage,
            machine=platform.machine(),
            hypervisor=on_hypervisor(Tree(Path("/"))),
        )


def record(
    seconds: float,
    selectors: Sequence[Selector] = (),
    host: Host | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: str = "auto",
    syscalls: bool = False,
    keep_all: bool = False,
) -> Trace:
    """Record for so long, or until `stop` says so; it is asked twenty times a second.

    Raises HostError and InputError as StepsSession does.
    """
    with StepsSession(selectors, host, engine, syscalls, keep_all) as session:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stop():
            time.sleep(min(left, _TAKE_S))
            session.take()
        session.stop()
        return session.read()
