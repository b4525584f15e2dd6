# SPDX-License-Identifier: GPL-2.0-only
"""Threads: the agent's, and those that handle interrupts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import IrqThread, NapiThread, Task
from agenttune.host.selector import Selector, SelectorKind
from agenttune.host.tree import Tree, is_decimal

_PROC = "/proc"
# irq/%d-%s, or irq/%d-s-%s for a secondary handler (setup_irq_thread(), kernel/irq/manage.c).
_IRQ_COMM = re.compile(r"irq/([0-9]+)-.*", re.DOTALL)
# napi_kthread_create(), net/core/dev.c, v6.12; an interface's name may hold dashes.
_NAPI_COMM = re.compile(r"napi/(.+)-([0-9]+)", re.DOTALL)
# PF_KTHREAD (include/linux/sched.h, v6.12): any process may call itself 'irq/24-eth0'.
_PF_KTHREAD = 0x00200000


def find_tasks_in(tree: Tree, selectors: Sequence[Selector]) -> tuple[Task, ...]:
    """The threads that any selector chooses, by process and thread; kernel threads never.

    comm: each thread of that name. pid: all threads of the process. cgroup: threads in it or below
    it, in any hierarchy. unit: threads in a cgroup whose path has that component. The calling
    process is no agent unless its pid is given.
    """
    if not selectors:
        return ()
    found = (
        task for tgid in _candidates(tree, selectors) for task in _tasks(tree, tgid, selectors)
    )
    return tuple(sorted(found, key=lambda task: (task.tgid, task.pid)))


def read_comms(tree: Tree) -> Mapping[int, str]:
    """Each process's name, by pid; empty for a recording without processes."""
    comms = {pid: tree.read(f"{_PROC}/{pid}/comm") for pid in tree.numbers(_PROC)}
    return {pid: comm for pid, comm in comms.items() if comm}


def read_irq_threads(tree: Tree, comms: Mapping[int, str]) -> Mapping[int, tuple[IrqThread, ...]]:
    """Threaded handlers by IRQ number."""
    threads: dict[int, tuple[IrqThread, ...]] = {}
    for pid, comm in sorted(comms.items()):
        match = _IRQ_COMM.fullmatch(comm)
        fields = _stat(tree, f"{_PROC}/{pid}") if match else None
        if match and fields and int(fields[6]) & _PF_KTHREAD:
            affinity = _status(tree, f"{_PROC}/{pid}")
            if affinity is not None:
                irq = int(match[1])
                threads[irq] = (*threads.get(irq, ()), IrqThread(pid, comm, affinity))
    return threads


def read_napi_threads(tree: Tree, comms: Mapping[int, str]) -> tuple[NapiThread, ...]:
    """Threads that poll NAPI instances, where an interface is set to 'threaded'.

    /proc shows a kernel thread's whole name (get_kthread_comm(), kernel/kthread.c, since v5.17).
    """
    threads = []
    for pid, comm in sorted(comms.items()):
        match = _NAPI_COMM.fullmatch(comm)
        fields = _stat(tree, f"{_PROC}/{pid}") if match else None
        affinity = _status(tree, f"{_PROC}/{pid}") if match else None
        if match and fields and affinity is not None and int(fields[6]) & _PF_KTHREAD:
            napi = (match[1], int(match[2]))
            threads.append(NapiThread(pid, int(fields[19]), comm, *napi, affinity))
    return tuple(threads)


def _candidates(tree: Tree, selectors: Sequence[Selector]) -> Iterator[int]:
    """Processes worth a look: naming pids only spares the walk over all."""
    named = {int(s.value) for s in selectors if s.kind is SelectorKind.PID}
    if all(s.kind is SelectorKind.PID for s in selectors):
        yield from sorted(named)
        return
    own = {os.getpid()} - named if tree.live else set()
    yield from (pid for pid in tree.numbers(_PROC) if pid not in own)


def _tasks(tree: Tree, tgid: int, selectors: Sequence[Selector]) -> Iterator[Task]:
    for tid in tree.numbers(f"{_PROC}/{tgid}/task"):
        folder = f"{_PROC}/{tgid}/task/{tid}"
        comm = tree.read(f"{folder}/comm")
        if comm is not None and _chosen(tree, folder, tgid, comm, selectors):
            task = _read_task(tree, folder, tgid, tid)
            if task:
                yield task


def _chosen(tree: Tree, folder: str, tgid: int, comm: str, selectors: Iterable[Selector]) -> bool:
    paths: list[str] | None = None
    for selector in selectors:
        if selector.kind is SelectorKind.COMM:
            if comm == selector.value:
                return True
        elif selector.kind is SelectorKind.PID:
            if tgid == int(selector.value):
                return True
        else:
            paths = _cgroups(tree, folder) if paths is None else paths
            if any(_below(path, selector) for path in paths):
                return True
    return False


def _below(path: str, selector: Selector) -> bool:
    if selector.kind is SelectorKind.UNIT:
        return selector.value in PurePosixPath(path).parts
    return PurePosixPath(path).is_relative_to(selector.value)


def _cgroups(tree: Tree, folder: str) -> list[str]:
    """A thread's path in each hierarchy, version 2's first, then systemd's, then the others'.

    Lines are 'id:controllers:path'; version 2 has id 0 and no controllers (cgroups(7)).
    """
    lines = [line.split(":", 2) for line in (tree.read(f"{folder}/cgroup") or "").splitlines()]
    ranked = sorted(
        (parts[1] != "", parts[1] != "name=systemd", parts[2]) for parts in lines if len(parts) == 3
    )
    return [path for *_, path in ranked]


def _read_task(tree: Tree, folder: str, tgid: int, tid: int) -> Task | None:
    """None when the thread ended meanwhile, or is the kernel's."""
    fields = _stat(tree, folder)
    affinity = _status(tree, folder)
    comm = tree.read(f"{folder}/comm")
    if fields is None or affinity is None or comm is None or int(fields[6]) & _PF_KTHREAD:
        return None
    cgroups = _cgroups(tree, folder)
    return Task(
        pid=tid,
        tgid=tgid,
        start_ticks=int(fields[19]),
        comm=comm,
        affinity=affinity,
        last_cpu=int(fields[36]),
        cgroup=cgroups[0] if cgroups else None,
    )


def _stat(tree: Tree, folder: str) -> list[str] | None:
    """The fields of stat after the name, from field 3 on: flags [6], start [19], CPU [36].

    The name is in parentheses and may hold spaces and parentheses itself (proc_pid_stat(5)).
    """
    text = tree.read(f"{folder}/stat")
    fields = text.rpartition(")")[2].split() if text else []
    if len(fields) <= 36 or not all(is_decimal(fields[place]) for place in (6, 19, 36)):
        return None
    return fields


def _status(tree: Tree, folder: str) -> CpuMask | None:
    text = tree.read(f"{folder}/status") or ""
    match = re.search(r"^Cpus_allowed_list:\s*(\S*)$", text, re.MULTILINE)
    try:
        return CpuMask.parse_list(match[1]) if match else None
    except ValueError:
        return None
