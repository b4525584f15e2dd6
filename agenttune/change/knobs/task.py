# SPDX-License-Identifier: GPL-2.0-only
"""The affinity of one thread, and of what it has started since."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.change.processes import TaskStat, task_stat, tasks
from agenttune.host.cpumask import CpuMask

_TARGET = re.compile(r"([1-9]\d{0,9})@(\d{1,20})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One thread that agenttune pinned: 'PID@START_TICKS', its masks and _context()."""

    target: str
    before: str
    ours: str
    context: str


def _parse(target: str) -> tuple[int, int]:
    match = _TARGET.fullmatch(target)
    if match is None:
        raise TargetGone(f"{target[:80]!r} is not a task: PID@START_TICKS is expected")
    return int(match[1]), int(match[2])


def _locate(kernel: Kernel, target: str) -> str:
    pid, start_ticks = _parse(target)
    stat = task_stat(kernel, pid)
    if stat is None or stat.start_ticks != start_ticks:
        raise TargetGone(f"task {pid}, started at tick {start_ticks}, has ended")
    return str(pid)


def _read(kernel: Kernel, place: str) -> str:
    return str(kernel.task_affinity(int(place)))


def _write(kernel: Kernel, place: str, value: str) -> str:
    kernel.set_task_affinity(int(place), CpuMask.parse_list(value))
    return _read(kernel, place)


def _within_cpuset(wanted: str, observed: str) -> bool:
    """sched_setaffinity() keeps only what the cpuset allows (kernel/sched/syscalls.c, v6.12)."""
    shown = CpuMask.parse_list(observed)
    return observed == wanted or (bool(shown) and shown <= CpuMask.parse_list(wanted))


def _context(kernel: Kernel, place: str) -> str:
    """'TGID@START_TICKS/PINNED_TICKS': its process, and when it was pinned."""
    stat = task_stat(kernel, int(place))
    process = task_stat(kernel, stat.tgid) if stat else None
    if process is None:
        raise TargetGone(f"task {place} has ended")
    return f"{process.pid}@{process.start_ticks}/{kernel.now_ticks()}"


def restore_heirs(kernel: Kernel, pins: Iterable[Pin]) -> int:
    """Give threads that inherited our mask the old mask of whom they come from; how many.

    A new thread or process copies its creator's affinity. An heir is a live task that started
    after the pin, shows our mask, has no pin of its own and belongs to a pinned process or descends
    from one. A process whose parent ended first is no longer known to descend from it.
    """
    by_process: dict[int, Pin] = {}
    pinned = set()
    for pin in pins:
        pinned.add(pin.target)
        process = pin.context.partition("/")[0]
        tgid, start_ticks = _parse(process)
        stat = task_stat(kernel, tgid)
        alive = stat is not None and stat.start_ticks == start_ticks
        if alive and (pin.target == process or tgid not in by_process):
            by_process[tgid] = pin
    if not by_process:
        return 0
    everyone = list(tasks(kernel))
    parents = {stat.tgid: stat.parent for stat in everyone}
    candidates = [stat for stat in everyone if f"{stat.pid}@{stat.start_ticks}" not in pinned]
    return sum(_restore_heir(kernel, stat, by_process, parents) for stat in candidates)


def _restore_heir(
    kernel: Kernel, stat: TaskStat, by_process: Mapping[int, Pin], parents: Mapping[int, int]
) -> bool:
    process = stat.tgid
    while process not in by_process:
        process = parents.get(process, 0)
        if process <= 1:
            return False
    pin = by_process[process]
    if stat.start_ticks < int(pin.context.partition("/")[2]):
        return False
    try:
        if str(kernel.task_affinity(stat.pid)) != pin.ours:
            return False
        kernel.set_task_affinity(stat.pid, CpuMask.parse_list(pin.before))
    except ProcessLookupError:
        return False
    return True


OPS = KnobOps(
    locate=_locate,
    read=_read,
    write=_write,
    accepts=_within_cpuset,
    context=_context,
    dies_with_target=True,
)
