# SPDX-License-Identifier: GPL-2.0-only
"""Plans for the four recorded hosts, whose topologies nobody invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from policy_hosts import applied

from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Cpu, Host, Movability, Vector, VectorKey
from agenttune.policy.plan import KnobKind
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile
from agenttune.policy.roles import with_siblings

NAMES = (
    "16em64t-4s2c2t-offlines",
    "20em64t-hybrid-1p6c2t+2ca4co1t",
    "32intel64-2p8co2t+8ve",
    "x86_64-64cpu-linux6.2",
)


@pytest.fixture(scope="module")
def hosts(recorded_hosts: Mapping[str, Path]) -> dict[str, Host]:
    return {name: read_host(root) for name, root in recorded_hosts.items()}


def busy(host: Host) -> Host:
    """The host with four vectors on each online CPU: the recordings tell no affinities."""
    vectors = tuple(
        vector
        for cpu in host.topology.cpus
        if cpu.online
        for vector in _vectors(cpu, host.topology.online)
    )
    return replace(host, vectors=vectors, default_affinity=host.topology.online)


def _vectors(cpu: Cpu, online: CpuMask) -> list[Vector]:
    here = CpuMask.of([cpu.cpu])

    def made(entry: int, affinity: CpuMask, **fields: object) -> Vector:
        key = VectorKey(f"0000:{cpu.cpu:02x}:00.0", entry, f"q{entry}")
        base = Vector(100 + 4 * cpu.cpu + entry, key, Movability.MOVABLE)
        base = replace(base, node=cpu.node, affinity=affinity, effective=here)
        return replace(base, **fields)  # type: ignore[arg-type]

    return [
        made(0, here, interface=f"eth{cpu.cpu}", queue=0, direction="rx"),
        made(1, here, interface=f"eth{cpu.cpu}", queue=0, direction="tx"),
        made(2, online),
        made(3, here, movability=Movability.MANAGED, block=f"nvme{cpu.cpu}n1"),
    ]


@pytest.mark.parametrize("placement", Placement)
@pytest.mark.parametrize("name", NAMES)
def test_each_online_cpu_may_be_the_agents(
    hosts: dict[str, Host], name: str, placement: Placement
) -> None:
    host = busy(hosts[name])
    for agent in host.topology.online:
        wish = Profile(
            "test", "", agent_cpus=CpuMask.of([agent]), placement=placement, default_affinity=True
        )
        plan = make_plan(host, wish)
        after = applied(host, plan)
        assert make_plan(after, wish).changes == ()
        if placement is not Placement.SAME:
            check_quiet(host, after, CpuMask.of([agent]), local=placement is Placement.AWAY)
        assert {u.why for u in plan.unmovable} <= {Movability.MANAGED}
        assert {u.cpus.first() for u in plan.unmovable} == set(plan.avoided_cpus)


def check_quiet(before: Host, after: Host, agent: CpuMask, *, local: bool) -> None:
    """No movable vector on the agent's core; if `local`, none across nodes without need."""
    cores = with_siblings(before.topology, agent)
    nodes = {cpu.cpu: cpu.node for cpu in before.topology.cpus}
    free = before.topology.online - cores
    queues: dict[str, set[CpuMask | None]] = {}
    for old, new in zip(before.vectors, after.vectors, strict=True):
        if old.movability is Movability.MANAGED:
            assert new == old
            continue
        assert new.affinity is not None
        assert new.effective is not None
        assert not (new.affinity | new.effective) & cores
        if local and old.effective != new.effective and any(nodes[c] == old.node for c in free):
            assert nodes[new.effective.first()] == old.node
        if old.interface:
            queues.setdefault(old.interface, set()).add(new.effective)
    assert all(len(cpus) == 1 for cpus in queues.values())


@pytest.mark.parametrize("name", NAMES)
def test_equal_vectors_spread_evenly(hosts: dict[str, Host], name: str) -> None:
    """All vectors on one CPU of a host without others: the nearest CPUs get equal numbers."""
    host = hosts[name]
    agent = host.topology.cpus[0]
    here = CpuMask.of([agent.cpu])
    vectors = tuple(
        Vector(
            irq,
            VectorKey("0000:00:01.0", irq, "q"),
            Movability.MOVABLE,
            node=agent.node,
            affinity=here,
            effective=here,
        )
        for irq in range(50)
    )
    wish = Profile("test", "", agent_cpus=here, placement=Placement.AWAY)
    plan = make_plan(replace(host, vectors=vectors), wish)
    landed = Counter(int(c.wanted) for c in plan.changes if c.knob.kind is KnobKind.VECTOR_AFFINITY)
    assert landed.total() == 50
    near = plan.housekeeping_cpus & agent.l3 if agent.l3 else plan.housekeeping_cpus
    assert set(landed) == set(near)
    assert max(landed.values()) - min(landed.values()) <= 1


def test_a_vector_of_unknown_affinity_is_left_and_named(hosts: dict[str, Host]) -> None:
    host = hosts["32intel64-2p8co2t+8ve"]
    assert len(host.vectors) > 200
    assert {vector.affinity for vector in host.vectors} == {None}
    wish = Profile("test", "", agent_cpus=CpuMask.of([0]), placement=Placement.AWAY)
    plan = make_plan(host, wish)
    assert plan.changes == ()
    assert plan.unmovable == ()
    assert f"{len(host.vectors)} vectors tell neither affinity nor counts here: " in "".join(
        plan.notes
    )
    counted = replace(host, vectors=tuple(replace(v, counts={0: 1}) for v in host.vectors))
    named = make_plan(counted, wish).unmovable
    assert len(named) == len(host.vectors)
    assert all("could not be read" in unmovable.remedy for unmovable in named)
