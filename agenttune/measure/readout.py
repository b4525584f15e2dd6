# SPDX-License-Identifier: GPL-2.0-only
"""Readout: the BPF maps' content as Counters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agenttune.measure import layout
from agenttune.measure.engine import Counters, IrqCounters, NapiCounters, SoftirqCounters
from agenttune.measure.histogram import Histogram, merge
from agenttune.measure.libbpf import Object
from agenttune.measure.measurement import AgentLoad, ArchLoad, Coverage, Missing

# NAPI instances without a device: each CPU's backlog (loopback, RPS).
BACKLOG = "backlog"


def read_counters(
    maps: Object, now_ns: int, recursion_misses: int, missing: tuple[Missing, ...]
) -> Counters:
    """`now_ns`, on CLOCK_MONOTONIC, is when agents that still run are counted up to."""
    states = maps.map("states").per_cpu(0, layout.State)
    return Counters(
        irqs=tuple(_irqs(maps)),
        archs=_archs(maps),
        softirqs=tuple(_softirqs(maps)),
        napis=tuple(_napis(maps)),
        agents=_agents(maps, states, now_ns),
        wakeups=_wakeups(maps),
        coverage=Coverage(
            recursion_misses=recursion_misses,
            lost=sum(state.lost for state in states),
            unpaired=sum(_unpaired(state.frames) for state in states),
            missing=missing,
            coalesced=sum(state.coalesced for state in states),
        ),
    )


def _irqs(maps: Object) -> Iterator[IrqCounters]:
    for key, value in maps.map("irqs").items(layout.IrqKey, layout.Irq):
        yield IrqCounters(key.irq, key.cpu, value.count, value.times.value())


def _archs(maps: Object) -> tuple[ArchLoad, ...]:
    loads: dict[tuple[str, int], tuple[int, int]] = {}
    for index, name in enumerate(layout.ARCH_NAMES):
        for cpu, load in enumerate(maps.map("archs").per_cpu(index, layout.Load)):
            if load.count:
                count, time_ns = loads.get((name, cpu), (0, 0))
                loads[name, cpu] = (count + load.count, time_ns + load.time_ns)
    return tuple(ArchLoad(name, cpu, *load) for (name, cpu), load in loads.items())


def _softirqs(maps: Object) -> Iterator[SoftirqCounters]:
    for index, name in enumerate(layout.SOFTIRQ_NAMES):
        for cpu, load in enumerate(maps.map("softirqs").per_cpu(index, layout.Softirq)):
            if load.count:
                yield SoftirqCounters(
                    name,
                    cpu,
                    load.count,
                    load.ksoftirqd_ns,
                    load.times.value(),
                    load.latencies.value(),
                )


def _napis(maps: Object) -> Iterator[NapiCounters]:
    for key, load in maps.map("napis").items(layout.NapiKey, layout.Napi):
        device = key.device.decode(errors="replace") or BACKLOG
        yield NapiCounters(
            device, key.netns, key.cpu, load.polls, load.exhausted, load.packets.value()
        )


def _agents(maps: Object, states: list[layout.State], now_ns: int) -> tuple[AgentLoad, ...]:
    loads: dict[tuple[bytes, int, int], tuple[int, int, int]] = {}
    for key, load in maps.map("agents").items(layout.AgentKey, layout.Agent):
        loads[key.comm, key.tgid, key.cpu] = (load.run_ns, load.turns, load.stolen_ns)
    for state in states:
        if state.agent.tgid:
            name = (state.agent.comm, state.agent.tgid, state.agent.cpu)
            run_ns, turns, stolen_ns = loads.get(name, (0, 0, 0))
            own_ns, lost_ns = _open_turn(state.frames, now_ns)
            loads[name] = (run_ns + own_ns, turns + 1, stolen_ns + lost_ns)
    return tuple(
        AgentLoad(comm.decode(errors="replace"), tgid, cpu, *load)
        for (comm, tgid, cpu), load in sorted(loads.items())
    )


def _open_turn(frames: layout.Cpu, now_ns: int) -> tuple[int, int]:
    """at_turn_end in bpf/stages.h, for a turn that the window's end cuts."""
    wall_ns = max(0, now_ns - frames.turn.start.now_ns)
    stolen_ns = frames.hardirq_ns - frames.turn.start.hardirq_ns
    stolen_ns += frames.softirq_ns - frames.turn.softirq_ns
    return max(0, wall_ns - stolen_ns), stolen_ns


def _wakeups(maps: Object) -> Mapping[str, Histogram]:
    wakeups = {
        name: merge(
            histogram.value()
            for histogram in maps.map("wakeups").per_cpu(index, layout.BpfHistogram)
        )
        for index, name in enumerate(layout.CONTEXT_NAMES)
    }
    return {name: histogram for name, histogram in wakeups.items() if histogram.buckets}


def _unpaired(frames: layout.Cpu) -> int:
    """Frames that are still open were cut by the window's end."""
    cut = frames.depth + bool(frames.softirq.vector) + bool(frames.parked.vector)
    return int(frames.unpaired + cut)
