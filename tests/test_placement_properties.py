# SPDX-License-Identifier: GPL-2.0-only
"""Placement on any host: the promises that hold whatever the topology."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from policy_hosts import applied, hosts, measurement

from agenttune.errors import PlanRefused
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Movability
from agenttune.measure.measurement import Measurement, SoftirqLoad, VectorLoad
from agenttune.policy.balance import VECTORS_PER_CPU
from agenttune.policy.placement import MAY_MOVE
from agenttune.policy.plan import Change, KnobKind, Plan
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile
from agenttune.policy.roles import with_siblings

deterministic = settings(
    max_examples=75,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def profile(agent: CpuMask, placement: Placement) -> Profile:
    return Profile(
        "test",
        "",
        agent_cpus=agent,
        placement=placement,
        default_affinity=True,
        steer_rps=True,
        steer_xps=True,
    )


@st.composite
def cases(
    draw: st.DrawFn, placements: tuple[Placement, ...] = tuple(Placement)
) -> tuple[Host, Profile]:
    """A host with an agent that leaves at least one CPU to the rest."""
    host = draw(hosts())
    online = sorted(host.topology.online)
    agent = CpuMask.of(draw(st.sets(st.sampled_from(online), min_size=1, max_size=3)))
    assume(host.topology.online - with_siblings(host.topology, agent))
    return host, profile(agent, draw(st.sampled_from(placements)))


def measured(host: Host) -> Measurement:
    """A measurement in which every vector fired where it is, some of them a lot."""
    loads = [
        VectorLoad(v.irq, v.key, cpu, 10 * v.irq, 1000 * (v.irq % 5) ** 4)
        for v in host.vectors
        for cpu in v.effective or ()
    ]
    net = [SoftirqLoad("NET_RX", cpu, 5, 9000 * cpu) for cpu in host.topology.online]
    return measurement(loads, net)


def vector_changes(plan: Plan) -> dict[str, Change]:
    return {
        change.knob.target: change
        for change in plan.changes
        if change.knob.kind is KnobKind.VECTOR_AFFINITY
    }


@deterministic
@given(cases((Placement.AWAY,)))
def test_away_leaves_no_movable_vector_on_an_agent_core(case: tuple[Host, Profile]) -> None:
    host, wish = case
    plan = make_plan(host, wish)
    cores = with_siblings(host.topology, plan.agent_cpus)
    assert plan.avoided_cpus == cores
    after = applied(host, plan)
    for vector in after.vectors:
        if vector.movability in MAY_MOVE:
            assert not (vector.affinity or CpuMask()) & cores
            assert not (vector.effective or CpuMask()) & cores
            assert not any(thread.affinity & cores for thread in vector.threads)
    assert after.default_affinity is not None
    assert after.default_affinity
    assert not after.default_affinity & cores
    for queue in after.interfaces[0].queues:
        assert not (queue.steering or CpuMask()) & cores


@deterministic
@given(cases())
def test_a_queue_without_steering_is_not_given_any(case: tuple[Host, Profile]) -> None:
    host, wish = case
    after = applied(host, make_plan(host, wish))
    for old, new in zip(host.interfaces[0].queues, after.interfaces[0].queues, strict=True):
        assert bool(old.steering) == bool(new.steering)


@deterministic
@given(cases(), st.booleans())
def test_planning_again_changes_nothing(case: tuple[Host, Profile], with_loads: bool) -> None:
    host, wish = case
    loads = measured(host) if with_loads else None
    after = applied(host, make_plan(host, wish, loads))
    assert make_plan(after, wish, loads).changes == ()
    assert make_plan(after, wish).changes == ()


@deterministic
@given(cases(), st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_inventory(case: tuple[Host, Profile], random) -> None:
    host, wish = case
    shuffled = list(host.vectors)
    random.shuffle(shuffled)
    other = replace(host, vectors=tuple(shuffled))
    assert make_plan(host, wish) == make_plan(other, wish)
    assert make_plan(host, wish, measured(host)) == make_plan(other, wish, measured(other))


@deterministic
@given(cases())
def test_unmovable_vectors_are_named_and_left(case: tuple[Host, Profile]) -> None:
    host, wish = case
    plan = make_plan(host, wish)
    changed = vector_changes(plan)
    named = {unmovable.irq for unmovable in plan.unmovable}
    for vector in host.vectors:
        if vector.movability not in MAY_MOVE:
            assert str(vector.key) not in changed
            where = vector.effective or vector.affinity or CpuMask()
            assert (vector.irq in named) == bool(where & plan.avoided_cpus)
        else:
            assert vector.irq not in named


@deterministic
@given(cases((Placement.AWAY,)), st.booleans())
def test_moved_vectors_are_local_unless_the_reason_says_why(
    case: tuple[Host, Profile], with_loads: bool
) -> None:
    host, wish = case
    plan = make_plan(host, wish, measured(host) if with_loads else None)
    nodes = {cpu.cpu: cpu.node for cpu in host.topology.cpus}
    several = len({node for node in nodes.values() if node is not None}) > 1
    by_key = {str(vector.key): vector for vector in host.vectors}
    for target, change in vector_changes(plan).items():
        vector = by_key[target]
        wanted = CpuMask.parse_list(change.wanted)
        if vector.effective and vector.effective <= wanted:
            continue
        assert len(wanted) == 1
        assert wanted <= plan.housekeeping_cpus
        if several and nodes[wanted.first()] != vector.node:
            local = [c for c in plan.housekeeping_cpus if nodes[c] == vector.node]
            assert vector.node is None or not local
            assert "NUMA node" in change.reason


@deterministic
@given(cases((Placement.AWAY, Placement.NEAR)))
def test_only_offending_vectors_change(case: tuple[Host, Profile]) -> None:
    host, wish = case
    plan = make_plan(host, wish)
    changed = vector_changes(plan)
    for vector in host.vectors:
        occupied = (vector.affinity or CpuMask()) | (vector.effective or CpuMask())
        io = vector.interface or vector.block
        if not occupied & plan.avoided_cpus and (wish.placement is Placement.AWAY or not io):
            assert str(vector.key) not in changed


@deterministic
@given(cases((Placement.SAME,)))
def test_same_brings_queue_vectors_to_the_agent(case: tuple[Host, Profile]) -> None:
    host, wish = case
    plan = make_plan(host, wish)
    for vector in applied(host, plan).vectors:
        if vector.movability in MAY_MOVE and (vector.interface or vector.block):
            assert vector.affinity is not None
            assert vector.affinity & host.topology.online <= plan.agent_cpus
    others = {str(v.key) for v in host.vectors if not v.interface and not v.block}
    assert not others & vector_changes(plan).keys()


@deterministic
@given(cases((Placement.NEAR,)))
def test_near_stays_in_the_agents_cache_where_it_can(case: tuple[Host, Profile]) -> None:
    host, wish = case
    plan = make_plan(host, wish)
    l3 = CpuMask()
    for cpu in host.topology.cpus:
        if cpu.cpu in plan.agent_cpus:
            l3 |= cpu.l3 or CpuMask()
    around = plan.housekeeping_cpus & l3
    for vector in applied(host, plan).vectors:
        if vector.movability in MAY_MOVE and (vector.interface or vector.block):
            assert vector.affinity is not None
            assert not vector.affinity & plan.avoided_cpus
            assert not around or vector.affinity & host.topology.online <= around


@deterministic
@given(cases((Placement.AWAY,)))
def test_equally_near_cpus_differ_by_one_vector(case: tuple[Host, Profile]) -> None:
    """Lone vectors of one node and no known load: no CPU gets a second while another has none."""
    host, wish = case
    start = CpuMask.of([wish.agent_cpus.first()]) if wish.agent_cpus else CpuMask()
    lone = tuple(
        replace(
            v,
            movability=Movability.MOVABLE,
            interface=None,
            block=None,
            queue=None,
            counts=None,
            node=0,
            affinity=start,
            effective=start,
        )
        for v in host.vectors
    )
    plan = make_plan(replace(host, vectors=lone), wish)
    landed = Counter(CpuMask.parse_list(c.wanted).first() for c in vector_changes(plan).values())
    assume(landed)
    used = landed.keys()
    tiers = [tier for tier in _equally_near(host, plan) if used & set(tier)]
    assert len(tiers) == 1
    counts = [landed[cpu] for cpu in tiers[0]]
    assert max(counts) - min(counts) <= 1
    assert max(counts) <= VECTORS_PER_CPU


def _equally_near(host: Host, plan: Plan) -> list[list[int]]:
    """Housekeeping CPUs in classes of the same node, and the same relation to the agent."""
    cpus = {cpu.cpu: cpu for cpu in host.topology.cpus}
    agent = [cpus[cpu] for cpu in plan.agent_cpus]
    l3 = {c for cpu in agent for c in cpu.l3 or ()}
    agent_nodes = {cpu.node for cpu in agent if cpu.node is not None}
    several = len({cpu.node for cpu in host.topology.cpus if cpu.node is not None}) > 1
    classes: dict[tuple[bool, bool, bool], list[int]] = {}
    for cpu in plan.housekeeping_cpus:
        local = not several or cpus[cpu].node == 0
        beside = cpus[cpu].node in agent_nodes
        key = (local, cpu in l3, True) if local else (local, cpu in l3, beside)
        classes.setdefault(key, []).append(cpu)
    return list(classes.values())


@deterministic
@given(hosts())
def test_an_agent_on_every_cpu_is_refused(host: Host) -> None:
    count = len(host.topology.online)
    with pytest.raises(PlanRefused, match=f"cover all {count} online CPUs"):
        make_plan(host, profile(host.topology.online, Placement.AWAY))
