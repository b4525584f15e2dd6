# SPDX-License-Identifier: GPL-2.0-only
"""One run of a probe: a report each interval, the last one when it is stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from agenttune.errors import InputError
from agenttune.host.host import Host
from agenttune.host.selector import Selector
from agenttune.measure.backend import choose
from agenttune.measure.filter import resolve
from agenttune.measure.probe_engine import ProbeEngine, room
from agenttune.measure.probe_hooks import FUNCTION_NOTE, SPECS, WAIT_NOTE
from agenttune.measure.probe_layout import DEFAULT_MAX_BYTES, ProbeName
from agenttune.measure.probe_report import ProbeReport, counts, distributions

_POLL_S = 0.1


def probe(
    name: ProbeName,
    selectors: Sequence[Selector] = (),
    *,
    seconds: float,
    interval: float | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    host: Host | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: str = "auto",
) -> Iterator[ProbeReport]:
    """A report each `interval` seconds, and the last after `seconds` or when `stop` says so.

    Each report is of its own interval only. `host` names interrupts. Raises HostError, and
    InputError for agents that are missing or that the probe has no use for.
    """
    _check_agents(name, selectors)
    opened = ProbeEngine(name, resolve(selectors), max_bytes, room(name), choose(engine))
    with closing(opened):
        notes = SPECS[name].notes
        if name is ProbeName.FAULT:
            notes += (FUNCTION_NOTE if opened.times_function else WAIT_NOTE,)
        opened.open_window()
        begun = time.monotonic_ns()
        end_s = time.monotonic() + seconds
        number, done = 0, False
        while not done:
            number += 1
            done = _wait(end_s, interval, stop)
            if done:
                opened.close_window()
            now = time.monotonic_ns()
            samples = opened.take()
            yield ProbeReport(
                probe=name,
                interval=number,
                window_ns=now - begun,
                boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                kernel=os.uname().release,
                engine=opened.name,
                selectors=tuple(str(selector) for selector in selectors),
                max_bytes=max_bytes if name is ProbeName.BLOCK else None,
                distributions=distributions(samples, host),
                counts=counts(samples),
                notes=notes,
                coverage=opened.coverage(),
            )
            begun = now


def _check_agents(name: ProbeName, selectors: Sequence[Selector]) -> None:
    if SPECS[name].needs_agents and not selectors:
        raise InputError(
            f"probe {name} times agents, and none is selected",
            hint="Say who the agent is, such as --agent comm:python3.",
        )
    if selectors and not SPECS[name].needs_agents:
        raise InputError(
            f"probe {name} sees work that belongs to no agent, so --agent has no meaning for it",
            hint="Leave --agent out.",
        )


def _wait(end_s: float, interval: float | None, stop: Callable[[], bool]) -> bool:
    """Sleep to the interval's end; True when it is the last one."""
    until = min(end_s, time.monotonic() + interval) if interval else end_s
    while (left := until - time.monotonic()) > 0:
        if stop():
            return True
        time.sleep(min(left, _POLL_S))
    return until >= end_s
