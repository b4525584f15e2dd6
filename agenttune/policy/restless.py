# SPDX-License-Identifier: GPL-2.0-only
"""Restless NAPI: polled without an interrupt, so that its vector cannot leave its CPU yet.

NAPI that finds work in every poll stays on its CPU and keeps the interrupt off (napi_poll,
net/core/dev.c, v6.12): the vector, which would move at its next one, has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, VectorKey
from agenttune.measure.measurement import Measurement
from agenttune.policy.placement import Move


def restless(avoided: CpuMask, host: Host, seen: Measurement) -> Mapping[VectorKey, CpuMask]:
    """The vectors whose NAPI never rested in the window, with the avoided CPUs that polled it.

    `host` says where they were then. Polls belong to a device, not to a queue: any interrupt of
    the device on that CPU may have begun them, and then nothing is known.
    """
    interfaces = {vector.key: vector.interface for vector in host.vectors}
    queued = {vector.interface for vector in host.vectors if vector.queue is not None}
    fired = {(load.key, load.cpu) for load in seen.vectors if load.key and load.count}
    raised = {(interfaces.get(key), cpu) for key, cpu in fired}
    polled = {(load.device, load.cpu) for load in seen.napi if load.packets} - raised
    silent = interfaces.keys() - {key for key, _ in fired}
    found = {}
    for vector in host.vectors:
        if vector.key not in silent or (vector.queue is None and vector.interface in queued):
            continue
        here = (vector.effective or CpuMask()) & avoided
        cpus = CpuMask.of(cpu for cpu in here if (vector.interface, cpu) in polled)
        if cpus:
            found[vector.key] = cpus
    return found


def restless_notes(
    avoided: CpuMask, host: Host, moves: Iterable[Move], seen: Measurement | None
) -> tuple[str, ...]:
    """Which of the moves will not happen before their traffic pauses."""
    found = restless(avoided, host, seen) if seen else {}
    cpus: dict[str, CpuMask] = {}
    for move in moves:
        interface = move.vector.interface
        if interface and move.vector.key in found:
            cpus[interface] = cpus.get(interface, CpuMask()) | found[move.vector.key]
    return tuple(
        f"{interface}: CPU {where} polled it all through the measurement, without an interrupt; "
        "its vector moves only when its traffic lets up for a moment"
        for interface, where in sorted(cpus.items())
    )
