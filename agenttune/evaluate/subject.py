# SPDX-License-Identifier: GPL-2.0-only
"""Subject: the agent whose steps are compared, the built-in one or one that lives here already."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from agenttune.errors import AgenttuneError
from agenttune.evaluate.noise import Noise
from agenttune.evaluate.processes import require_alive, running
from agenttune.evaluate.step_log import StepLog, Timing, create_log
from agenttune.evaluate.workload import CALLS, READS, Workload
from agenttune.host.selector import Selector

_DATA_BYTES = 64 << 20
_CHUNK = 1 << 20


Others = tuple[subprocess.Popen[str], str]


class BuiltIn:
    """The built-in agent, while it runs."""

    own_clock = True

    def __init__(self, process: subprocess.Popen[str], log: StepLog, others: Sequence[Others]):
        self._process, self._log, self._others = process, log, others
        self._taken = len(log)
        self.selectors = (Selector.parse(f"pid:{process.pid}"),)

    def slow_down(self, share: float) -> None:
        """See StepLog.delay_share."""
        self._log.delay_share = share

    def take(self) -> list[Timing]:
        """The steps that ended since the last look. Raises HostError when a process has ended."""
        require_alive(self._process, "the workload")
        for process, name in self._others:
            require_alive(process, name)
        found = self._log.since(self._taken)
        self._taken += len(found)
        return found


@dataclass(frozen=True, slots=True)
class Attached:
    """An agent that lives here already and marks its steps."""

    selectors: tuple[Selector, ...]
    own_clock: bool = False

    def take(self) -> list[Timing]:
        return []


@contextmanager
def working(
    workload: Workload,
    noise: Sequence[Noise],
    seconds: float,
    folder: Path | None = None,
) -> Iterator[BuiltIn]:
    """The agent with its tool, its data and its noise, for at most so many seconds.

    `folder` is where the data file goes when the workload names none; it is removed afterwards.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agenttune-")))
        others: list[Others] = []
        needs_data = READS & workload.parts.keys() or Noise.DISK in noise
        if needs_data and not workload.data:
            workload = replace(workload, data=stack.enter_context(_data(folder or scratch)))
        if CALLS & workload.parts.keys() and not workload.tool:
            process, address = stack.enter_context(running("toolserver", ()))
            others.append((process, "the tool server"))
            workload = replace(workload, tool=address)
        for kind in noise:
            words = (kind, "--seconds", seconds, "--seed", workload.seed)
            data = ("--data", workload.data) if kind is Noise.DISK else ()
            process, _ = stack.enter_context(running("noise", (*words, *data)))
            others.append((process, f"the {kind} noise"))
        log = create_log(scratch / "steps")
        stack.callback(log.close)
        told = msgspec.json.encode(workload).decode()
        told_to = (told, scratch / "steps", seconds)
        process, _ = stack.enter_context(running("agent", told_to))
        yield BuiltIn(process, log, others)


@contextmanager
def _data(folder: Path) -> Iterator[str]:
    """A file with something in every block, on disk: a sparse one would be read from nowhere."""
    path = folder / f".agenttune-data-{secrets.token_hex(4)}"
    try:
        try:
            with path.open("xb") as file:
                for _ in range(_DATA_BYTES // _CHUNK):
                    file.write(os.urandom(_CHUNK))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AgenttuneError(
                f"{path}: cannot be written: {error.strerror}",
                hint=f"The workload reads {_DATA_BYTES >> 20} MiB; give --data a file or device.",
            ) from error
        yield str(path)
    finally:
        path.unlink(missing_ok=True)
