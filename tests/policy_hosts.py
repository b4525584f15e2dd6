# SPDX-License-Identifier: GPL-2.0-only
"""Hosts for tests of policy: by hand, by hypothesis, with a plan applied to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import (
    Cpu,
    Host,
    IrqThread,
    Movability,
    NetInterface,
    NetQueue,
    Task,
    Topology,
    Vector,
    VectorKey,
)
from agenttune.measure.measurement import Coverage, Measurement, SoftirqLoad, VectorLoad
from agenttune.policy.plan import Change, KnobKind, Plan


def mask(text: str) -> CpuMask:
    return CpuMask.parse_list(text)


def topology(
    nodes: int = 1,
    cores: int = 4,
    smt: int = 1,
    l3s: int = 1,
    *,
    numbers: Sequence[int] | None = None,
    offline: Iterable[int] = (),
    isolated: str = "",
) -> Topology:
    """`nodes` of `cores` cores of `smt` threads, with `l3s` L3 caches in each node.

    Thread t of core c is slot t * all_cores + c; `numbers` gives each slot its CPU number.
    """
    all_cores = nodes * cores
    slots = range(all_cores * smt)
    number = list(numbers) if numbers is not None else list(slots)
    gone = set(offline)
    alive = [slot for slot in slots if number[slot] not in gone]
    l3_size = -(-cores // l3s)

    def l3_of(slot: int) -> tuple[int, int]:
        core = slot % all_cores
        return core // cores, core % cores // l3_size

    cpus = []
    for slot in slots:
        if number[slot] in gone:
            cpus.append(Cpu(number[slot], online=False))
            continue
        core = slot % all_cores
        siblings = CpuMask.of(number[s] for s in alive if s % all_cores == core)
        l3 = CpuMask.of(number[s] for s in alive if l3_of(s) == l3_of(slot))
        cpus.append(
            Cpu(number[slot], True, core=core, node=core // cores, siblings=siblings, l3=l3)
        )
    cpus.sort(key=lambda cpu: cpu.cpu)
    online = CpuMask.of(cpu.cpu for cpu in cpus if cpu.online)
    return Topology(tuple(cpus), online, isolated=mask(isolated), nohz_full=CpuMask())


def vector(irq: int, affinity: str, effective: str | None = None, **fields: object) -> Vector:
    """A movable vector of PCI device 0000:00:03.0 unless `fields` say otherwise."""
    base = Vector(
        irq=irq,
        key=VectorKey("0000:00:03.0", irq, f"dev-{irq}"),
        movability=Movability.MOVABLE,
        affinity=mask(affinity),
        effective=None if effective is None else mask(effective),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def host(topo: Topology, vectors: Iterable[Vector] = (), **fields: object) -> Host:
    base = Host("/", False, "6.12.0", "boot", topo, tuple(vectors))
    return replace(base, **fields)  # type: ignore[arg-type]


def task(pid: int, affinity: str, cpu: int | None = None) -> Task:
    return Task(pid, pid, 100 + pid, "agent", mask(affinity), last_cpu=cpu)


def measurement(
    vectors: Iterable[VectorLoad] = (), softirqs: Iterable[SoftirqLoad] = (), **fields: object
) -> Measurement:
    base = Measurement(
        window_ns=10_000_000_000,
        boot_id="boot",
        kernel="6.12.0",
        engine="test",
        selectors=(),
        online="",
        vectors=tuple(vectors),
        softirqs=tuple(softirqs),
        napi=(),
        agents=(),
        squeezes=(),
        distributions=(),
        coverage=Coverage(0, 0, 0),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def applied(before: Host, plan: Plan) -> Host:
    """The host after every change took effect, as the kernel would show it."""
    changed = before
    for change in plan.changes:
        changed = _CHANGERS[change.knob.kind](changed, change)
    return changed


def _set_vector(before: Host, change: Change) -> Host:
    wanted = mask(change.wanted)

    def moved(old: Vector) -> Vector:
        if str(old.key) != change.knob.target:
            return old
        assert old.movability in (Movability.MOVABLE, Movability.UNKNOWN)
        assert str(old.affinity) == change.before
        stays = old.effective is not None and old.effective <= wanted
        first = CpuMask.of([(wanted & before.topology.online).first()])
        effective = old.effective if stays or old.effective is None else first
        threads = tuple(replace(t, affinity=effective or wanted) for t in old.threads)
        return replace(old, affinity=wanted, effective=effective, threads=threads)

    return replace(before, vectors=tuple(moved(v) for v in before.vectors))


def _set_threads(before: Host, change: Change) -> Host:
    def moved(old: Vector) -> Vector:
        if str(old.key) != change.knob.target:
            return old
        threads = tuple(replace(t, affinity=mask(change.wanted)) for t in old.threads)
        return replace(old, threads=threads)

    return replace(before, vectors=tuple(moved(v) for v in before.vectors))


def _set_steering(before: Host, change: Change) -> Host:
    name, _, queue_name = change.knob.target.partition("/")
    direction, _, index = queue_name.partition("-")

    def queue(old: NetQueue) -> NetQueue:
        if (old.direction, old.index) != (direction, int(index)):
            return old
        assert str(old.steering) == change.before
        return replace(old, steering=mask(change.wanted))

    def interface(old: NetInterface) -> NetInterface:
        return replace(old, queues=tuple(map(queue, old.queues))) if old.name == name else old

    return replace(before, interfaces=tuple(map(interface, before.interfaces)))


def _set_task(before: Host, change: Change) -> Host:
    def pinned(old: Task) -> Task:
        mine = f"{old.pid}@{old.start_ticks}" == change.knob.target
        return replace(old, affinity=mask(change.wanted)) if mine else old

    return replace(before, agents=tuple(map(pinned, before.agents)))


def _set_sysctl(before: Host, change: Change) -> Host:
    return replace(
        before, sysctls={**(before.sysctls or {}), change.knob.target: int(change.wanted)}
    )


_CHANGERS = {
    KnobKind.VECTOR_AFFINITY: _set_vector,
    KnobKind.IRQ_THREAD_AFFINITY: _set_threads,
    KnobKind.RPS_CPUS: _set_steering,
    KnobKind.XPS_CPUS: _set_steering,
    KnobKind.TASK_AFFINITY: _set_task,
    KnobKind.SYSCTL: _set_sysctl,
    KnobKind.DEFAULT_AFFINITY: lambda before, change: replace(
        before, default_affinity=mask(change.wanted)
    ),
    KnobKind.IRQBALANCE_BANS: lambda before, change: before,
}


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    nodes = draw(st.integers(1, 3))
    cores = draw(st.integers(1, 4))
    smt = draw(st.integers(1, 2))
    count = nodes * cores * smt
    sparse = st.lists(st.integers(0, 3 * count), min_size=count, max_size=count, unique=True)
    numbers = draw(st.one_of(st.none(), sparse)) or list(range(count))
    offline = draw(st.lists(st.sampled_from(numbers), max_size=count - 1, unique=True))
    topo = topology(
        nodes, cores, smt, draw(st.integers(1, cores)), numbers=numbers, offline=offline
    )
    hidden = draw(st.sampled_from((None, "siblings", "l3", "node")))
    if hidden is None:
        return topo
    return replace(topo, cpus=tuple(replace(cpu, **{hidden: None}) for cpu in topo.cpus))


@st.composite
def vectors_on(draw: st.DrawFn, topo: Topology) -> tuple[Vector, ...]:
    """Up to 24 vectors on `topo`: lone ones, queues with two directions, disks, unmovable ones."""
    online = sorted(topo.online)
    nodes = sorted({cpu.node for cpu in topo.cpus if cpu.node is not None})
    device_nodes = [draw(st.sampled_from([None, *nodes])) for _ in range(4)]
    made = []
    for irq in range(30, 30 + draw(st.integers(0, 24))):
        affinity = CpuMask.of(draw(st.sets(st.sampled_from(online), min_size=1)))
        effective = draw(st.sampled_from([None, *affinity]))
        queue = draw(st.integers(0, 3))
        kind = draw(st.sampled_from(("net", "net", "disk", "other")))
        made.append(
            Vector(
                irq=irq,
                key=VectorKey(f"0000:00:0{queue}.0", irq, f"dev-{irq}"),
                movability=draw(st.sampled_from([*Movability, Movability.MOVABLE])),
                interface=f"eth{queue}" if kind == "net" else None,
                block=f"nvme{queue}n1" if kind == "disk" else None,
                queue=None if kind == "other" else draw(st.integers(0, 2)),
                node=device_nodes[queue],
                affinity=affinity,
                effective=None if effective is None else CpuMask.of([effective]),
                counts=draw(st.none() | st.just({online[0]: irq, online[-1]: 7})),
                threads=draw(st.sampled_from(((), (IrqThread(irq, f"irq/{irq}", affinity),)))),
            )
        )
    return tuple(made)


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    """Any host: SMT or not, several nodes and caches, offline CPUs, sparse numbers, gaps."""
    topo = draw(topologies())
    masks = st.sets(st.sampled_from(sorted(topo.online))).map(CpuMask.of)
    queues = tuple(
        NetQueue(direction, index, draw(st.none() | masks))
        for direction in ("rx", "tx")
        for index in range(2)
    )
    return host(
        topo,
        draw(vectors_on(topo)),
        default_affinity=topo.online,
        interfaces=(NetInterface("eth0", 2, "0000:00:00.0", "ixgbe", queues),),
    )
