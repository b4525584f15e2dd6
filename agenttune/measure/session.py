# SPDX-License-Identifier: GPL-2.0-only
"""Session: one measuring window around a workload."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from agenttune.host.counters import read_softnet
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host
from agenttune.host.selector import Selector
from agenttune.host.tree import Tree
from agenttune.measure.engine import open_engine
from agenttune.measure.figures import Window, figures
from agenttune.measure.filter import resolve
from agenttune.measure.measurement import Measurement

_POLL_S = 0.1


class Session:
    """Probes attached from entry to exit; the window opens at entry and closes once.

    `read()` gives the figures since then, at any time before the exit. `host` names the vectors;
    without one every VectorLoad's key is None. `engine` is 'auto', 'libbpf' or 'bcc'. Entry raises
    HostError and InputError.
    """

    def __init__(
        self, selectors: Sequence[Selector] = (), host: Host | None = None, engine: str = "auto"
    ) -> None:
        self._selectors = tuple(selectors)
        self._host = host
        self._wanted = engine
        self._closed_ns: int | None = None
        self._squeezes_after: Mapping[int, int] | None = None

    def __enter__(self) -> Session:
        with ExitStack() as stack:
            self._engine = open_engine(resolve(self._selectors), self._wanted)
            stack.callback(self._engine.close)
            self._squeezes_before = _time_squeezes()
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

    def stop(self) -> None:
        """Close the window: nothing counts from here on. A second call does nothing."""
        if self._closed_ns is None:
            self._engine.close_window()
            self._closed_ns = time.monotonic_ns()
            self._squeezes_after = _time_squeezes()

    def read(self) -> Measurement:
        """The figures of the window, or of its part so far."""
        window = Window(
            length_ns=(self._closed_ns or time.monotonic_ns()) - self._opened_ns,
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            kernel=os.uname().release,
            engine=self._engine.name,
            selectors=tuple(str(selector) for selector in self._selectors),
            online=str(_online()),
            netns=Path("/proc/self/ns/net").stat().st_ino,
            squeezes_before=self._squeezes_before,
            squeezes_after=self._squeezes_after or _time_squeezes(),
        )
        return figures(self._engine.counters(), window, self._host)


def measure(
    seconds: float,
    selectors: Sequence[Selector] = (),
    host: Host | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: str = "auto",
) -> Measurement:
    """Measure for so long, or until `stop` says so; it is asked ten times a second.

    Raises HostError and InputError as Session does.
    """
    with Session(selectors, host, engine) as session:
        _wait(seconds, stop)
        session.stop()
        return session.read()


def _wait(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, _POLL_S))


def _online() -> CpuMask:
    return CpuMask.parse_list(Path("/sys/devices/system/cpu/online").read_text())


def _time_squeezes() -> Mapping[int, int]:
    rows = read_softnet(Tree(Path("/")), _online()) or ()
    return {row.cpu: row.time_squeeze for row in rows}
