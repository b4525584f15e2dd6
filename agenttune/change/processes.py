# SPDX-License-Identifier: GPL-2.0-only
"""Tasks of the host: who they are, when they started, what they descend from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agenttune.change.kernel import Kernel


@dataclass(frozen=True, slots=True)
class TaskStat:
    """One thread. `parent` is its process's parent; `start_ticks` counts from boot."""

    pid: int
    tgid: int
    parent: int
    start_ticks: int
    state: str


def task_stat(kernel: Kernel, pid: int, tgid: int | None = None) -> TaskStat | None:
    """None when there is no such task. `tgid` spares a look into /proc/PID/status."""
    try:
        # The name may hold spaces and parentheses; what follows the last ')' does not.
        fields = kernel.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        owner = tgid if tgid is not None else _tgid(kernel, pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return TaskStat(pid, owner, int(fields[1]), int(fields[19]), fields[0])


def _tgid(kernel: Kernel, pid: int) -> int:
    for line in kernel.read(f"/proc/{pid}/status").splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def tasks(kernel: Kernel) -> Iterator[TaskStat]:
    """Every thread there is while we look."""
    for tgid in kernel.tree.numbers("/proc"):
        for pid in kernel.tree.numbers(f"/proc/{tgid}/task"):
            stat = task_stat(kernel, pid, tgid)
            if stat is not None:
                yield stat


def holders(kernel: Kernel, path: str) -> tuple[str, ...]:
    """Who has `path` open or mapped: 'agent (pid 12)'."""
    tree = kernel.tree
    found = []
    for pid in tree.numbers("/proc"):
        opened = (tree.link(f"/proc/{pid}/fd/{fd}") for fd in tree.numbers(f"/proc/{pid}/fd"))
        if path in opened or _maps(kernel, pid, path):
            found.append(f"{tree.read(f'/proc/{pid}/comm') or '?'} (pid {pid})")
    return tuple(found)


def _maps(kernel: Kernel, pid: int, path: str) -> bool:
    """A mapping holds the file after its descriptor is closed."""
    return any(
        line.rstrip().endswith(path.encode()) for line in kernel.tree.lines(f"/proc/{pid}/maps")
    )
