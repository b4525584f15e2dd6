# SPDX-License-Identifier: GPL-2.0-only
"""NAPI threads: where an interface polls in threads, these do the softirq work of its vectors."""

from __future__ import annotations

from collections.abc import Iterable

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, NapiThread
from agenttune.policy.placement import Move
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.roles import Roles, narrow


def napi_thread_changes(host: Host, roles: Roles, moves: Iterable[Move]) -> tuple[Change, ...]:
    """Take NAPI threads off avoided CPUs: each to the CPU of its vector where the host tells it.

    No budget bounds them: napi_threaded_poll() polls until it is idle (net/core/dev.c, v6.12).
    """
    places = _vector_cpus(host, roles, moves)
    return tuple(
        _change(host, roles, thread, places.get(thread.pid, CpuMask()))
        for thread in host.napi_threads
        if thread.affinity & roles.avoided
    )


def _vector_cpus(host: Host, roles: Roles, moves: Iterable[Move]) -> dict[int, CpuMask]:
    """By the thread's pid, where its vector will be, as far as that is off the agent's cores."""
    moved = {move.vector.irq: move.wanted for move in moves}
    cpus = {v.irq: moved.get(v.irq, v.effective or CpuMask()) for v in host.vectors}
    return {
        napi.pid: cpus[napi.irq] - roles.avoided
        for interface in host.interfaces
        for napi in interface.napis or ()
        if napi.pid is not None and napi.irq in cpus
    }


def _change(host: Host, roles: Roles, thread: NapiThread, place: CpuMask) -> Change:
    wanted = place or narrow(host.topology, roles, thread.affinity)
    where = "its vector's CPU" if place else "this kernel does not tell its vector"
    return Change(
        knob=Knob(KnobKind.TASK_AFFINITY, f"{thread.pid}@{thread.start_ticks}"),
        before=str(thread.affinity),
        wanted=str(wanted),
        label=f"NAPI thread {thread.comm} (pid {thread.pid})",
        reason=f"it may poll {thread.interface} on agent cores {thread.affinity & roles.avoided}",
        evidence=(f"CPUs {wanted}: {where}",),
    )
