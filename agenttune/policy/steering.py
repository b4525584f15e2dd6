# SPDX-License-Identifier: GPL-2.0-only
"""Steering: the masks that send new interrupts or packets to a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, NetInterface, NetQueue
from agenttune.policy.placement import Move
from agenttune.policy.plan import Change, Knob, KnobKind
from agenttune.policy.profile import Profile
from agenttune.policy.roles import Roles, narrow

QueueCpus = Mapping[tuple[str, int], CpuMask]


def default_affinity_change(host: Host, profile: Profile, roles: Roles) -> tuple[Change, ...]:
    """Take avoided CPUs out of default_smp_affinity, where later interrupts start."""
    mask = host.default_affinity
    if not profile.default_affinity or mask is None or not mask & roles.avoided:
        return ()
    return (
        Change(
            knob=Knob(KnobKind.DEFAULT_AFFINITY, ""),
            before=str(mask),
            wanted=str(narrow(host.topology, roles, mask)),
            label="default_smp_affinity",
            reason=f"new interrupts may start on agent cores {mask & roles.avoided}",
        ),
    )


def steering_changes(
    host: Host, profile: Profile, roles: Roles, moves: Iterable[Move]
) -> tuple[Change, ...]:
    """Take avoided CPUs out of RPS and XPS masks; an empty mask means off, so it stays."""
    places = _queue_cpus(host, roles, moves) if profile.steer_xps else {}
    return tuple(
        _change(host, roles, interface, queue, places)
        for interface, queue in _steered(host, profile)
        if queue.steering and queue.steering & roles.avoided
    )


def _steered(host: Host, profile: Profile) -> Iterator[tuple[NetInterface, NetQueue]]:
    wanted = {"rx": profile.steer_rps, "tx": profile.steer_xps}
    for interface in sorted(host.interfaces, key=lambda i: i.name):
        for queue in sorted(interface.queues, key=lambda q: (q.direction, q.index)):
            if wanted.get(queue.direction):
                yield interface, queue


def _change(
    host: Host, roles: Roles, interface: NetInterface, queue: NetQueue, places: QueueCpus
) -> Change:
    mask = queue.steering or CpuMask()
    wanted = narrow(host.topology, roles, mask)
    rx = queue.direction == "rx"
    place = places.get((interface.name, queue.index))
    if not rx and not mask & roles.housekeeping and place:
        # A queue that only agent cores used follows its vector.
        wanted = place
    verb = "sends its packets to" if rx else "is the send queue of"
    name = f"{interface.name}/{queue.direction}-{queue.index}"
    return Change(
        knob=Knob(KnobKind.RPS_CPUS if rx else KnobKind.XPS_CPUS, name),
        before=str(mask),
        wanted=str(wanted),
        label=f"{name} {'RPS' if rx else 'XPS'}",
        reason=f"{name} {verb} agent cores {mask & roles.avoided}",
    )


def _queue_cpus(host: Host, roles: Roles, moves: Iterable[Move]) -> QueueCpus:
    """Where the vectors of each queue will be, as far as that is off the agent's cores."""
    wanted = {move.vector.irq: move.wanted for move in moves}
    places: dict[tuple[str, int], CpuMask] = {}
    for vector in host.vectors:
        cpus = wanted.get(vector.irq, vector.effective)
        if vector.interface is not None and vector.queue is not None and cpus:
            # An unmovable vector may still be on an agent core.
            places[vector.interface, vector.queue] = cpus - roles.avoided
    return places
