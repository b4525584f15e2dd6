# SPDX-License-Identifier: GPL-2.0-only
"""Placement on hosts small enough to know the right answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from policy_hosts import applied, host, mask, measurement, topology, vector

from agenttune.errors import PlanRefused
from agenttune.host.host import Host, IrqThread, Movability, NetInterface, NetQueue, VectorKey
from agenttune.measure.measurement import Measurement, NapiLoad, SoftirqLoad, VectorLoad
from agenttune.policy.loads import host_loads
from agenttune.policy.plan import Change, KnobKind, Plan
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile


def away(agent: str, **fields: object) -> Profile:
    base = Profile("test", "", agent_cpus=mask(agent), placement=Placement.AWAY)
    return replace(base, **fields)  # type: ignore[arg-type]


def changes(plan: Plan, kind: KnobKind = KnobKind.VECTOR_AFFINITY) -> dict[str, Change]:
    """By the last part of the target: the action of a vector, the name of a queue."""
    return {c.knob.target.split("/")[-1]: c for c in plan.changes if c.knob.kind is kind}


def wanted(plan: Plan) -> dict[str, str]:
    return {name: change.wanted for name, change in changes(plan).items()}


def fired(host: Host, rows: Iterable[tuple[int, int, int, int]]) -> Measurement:
    """Rows of irq, cpu, count, time_ns."""
    keys = {v.irq: v.key for v in host.vectors}
    return measurement(VectorLoad(irq, keys[irq], cpu, n, ns) for irq, cpu, n, ns in rows)


def test_siblings_are_avoided_too() -> None:
    smt = topology(cores=4, smt=2)  # CPUs 3 and 7 are one core
    machine = host(smt, [vector(40, "7", "7"), vector(41, "3", "3"), vector(42, "2", "2")])
    plan = make_plan(machine, away("3"))
    assert plan.avoided_cpus == mask("3,7")
    assert wanted(plan) == {"dev-40": "0", "dev-41": "1"}
    assert changes(plan)["dev-40"].reason == "CPU 7 is an SMT sibling of the agent's CPUs 3"
    assert changes(plan)["dev-41"].reason == "CPU 3 is an agent core"


def test_a_wide_mask_shrinks_without_moving_the_vector() -> None:
    machine = host(topology(), [vector(40, "0-3", "1")])
    change = changes(make_plan(machine, away("3")))["dev-40"]
    assert (change.before, change.wanted) == ("0-3", "0-2")
    assert change.reason == "its mask 0-3 includes agent cores 3"
    assert change.evidence == ("it runs on CPU 1, which it keeps",)


def test_a_wide_mask_of_unknown_effect_becomes_one_cpu() -> None:
    machine = host(topology(), [vector(40, "0-3")])
    assert wanted(make_plan(machine, away("3"))) == {"dev-40": "0"}


def test_a_pending_move_is_not_planned_again() -> None:
    assert wanted(make_plan(host(topology(), [vector(40, "2", "3")]), away("3"))) == {}


def test_threads_of_a_pending_move_follow_it() -> None:
    threads = (IrqThread(99, "irq/40-dev", mask("3")),)
    plan = make_plan(host(topology(), [vector(40, "2", "3", threads=threads)]), away("3"))
    assert plan.changes == ()


def test_a_mask_of_offline_cpus_is_no_pending_move() -> None:
    machine = host(topology(offline=[2]), [vector(40, "2", "3")])
    assert wanted(make_plan(machine, away("3"))) == {"dev-40": "0"}


def test_offline_cpus_stay_in_a_shrunk_mask() -> None:
    machine = host(topology(cores=4, offline=[2]), [vector(40, "0-3", "1")])
    assert wanted(make_plan(machine, away("3"))) == {"dev-40": "0-2"}


def test_measured_time_decides_where_a_vector_goes() -> None:
    machine = host(topology(), [vector(40, "3", "3"), vector(41, "0", "0"), vector(42, "1", "1")])
    busy = fired(machine, [(40, 3, 900, 5_000_000), (41, 0, 10, 7_000), (42, 1, 10_000, 6_000)])
    busy = replace(busy, softirqs=(SoftirqLoad("TIMER", 2, 5, 6_500),))
    plan = make_plan(machine, away("3"), busy)
    assert wanted(plan) == {"dev-40": "1"}
    assert changes(plan)["dev-40"].evidence == (
        "100.0 % of CPU 3's hardirq time in 10.0 s (900 interrupts)",
        "CPU 1: in the agent's L3 cache, on the only NUMA node; "
        "0.0 % of its 10.0 s went to interrupts",
    )


def test_softirq_time_weighs_as_much_as_hardirq_time() -> None:
    nics = [vector(irq, "3", "3", interface=f"eth{irq}", queue=0) for irq in (40, 41, 42)]
    machine = host(topology(), nics)
    # irq 41 raises nearly all of CPU 3's NET_RX, so it gets a CPU of its own.
    seen = fired(machine, [(40, 3, 1, 100), (41, 3, 98, 100), (42, 3, 1, 100)])
    seen = replace(seen, softirqs=(SoftirqLoad("NET_RX", 3, 100, 1_000_000),))
    machine = replace(machine, topology=topology(cores=3 + 1))
    plan = make_plan(machine, away("2-3"), seen)
    assert wanted(plan) == {"dev-40": "1", "dev-41": "0", "dev-42": "1"}


def test_a_flooded_nic_weighs_by_its_packets() -> None:
    """Its vector fired 77 times and the agent's two 282 and 285 times, yet the flood is its own."""
    nics = [
        vector(31, "1", "1", interface="eth0", queue=0, direction="rx"),
        vector(32, "1", "1", interface="eth0", queue=0, direction="tx"),
        vector(37, "1", "1", interface="eth2", queue=0, direction="rx"),
        vector(40, "2", "2", interface="eth3", queue=0, direction="rx"),
    ]
    machine = host(topology(), nics)
    rows = [(31, 1, 282, 10_000), (32, 1, 285, 10_000), (37, 1, 77, 3_000), (40, 2, 300, 10_000)]
    # CPU 2's load is between the agent's NIC and the flood: beside it there is room for one.
    softirqs = (SoftirqLoad("NET_RX", 1, 350, 4_000_000), SoftirqLoad("NET_RX", 2, 300, 900_000))
    napi = (
        NapiLoad("eth0", 1, 600, 290, 0),
        NapiLoad("eth2", 1, 900, 50_000, 700),
        NapiLoad("eth3", 2, 300, 300, 0),
    )
    seen = replace(fired(machine, rows), softirqs=softirqs)
    plan = make_plan(machine, away("1"), replace(seen, napi=napi))
    assert wanted(plan) == {"dev-37": "0", "dev-31": "3", "dev-32": "3"}
    machine = replace(machine, topology=topology(cores=3))
    plan = make_plan(machine, away("1"), replace(seen, napi=napi))
    assert wanted(plan) == {"dev-37": "0", "dev-31": "2", "dev-32": "2"}
    # By interrupts alone the agent's NIC seems to bring the flood.
    plan = make_plan(machine, away("1"), seen)
    assert wanted(plan)["dev-31"] == "0"


def test_a_nic_that_never_rests_weighs_without_interrupts() -> None:
    flooded = vector(40, "3", "3", interface="eth0", queue=0)
    config = vector(41, "3", "3", interface="eth0")
    disk = vector(42, "3", "3", block="nvme0n1", queue=0)
    machine = host(topology(cores=3 + 1), [flooded, config, disk])
    seen = fired(machine, [(41, 3, 1, 900), (42, 3, 100, 50_000)])
    seen = replace(
        seen,
        softirqs=(SoftirqLoad("NET_RX", 3, 100, 4_000_000), SoftirqLoad("TIMER", 1, 1, 60_000)),
        napi=(NapiLoad("eth0", 3, 1000, 64_000, 1000), NapiLoad("backlog", 3, 1000, 64_000, 0)),
    )
    loads = host_loads(machine, seen)
    # Half of it came from loopback, which is no vector's.
    assert loads.by_vector == {40: {3: 2_000_000}, 41: {3: 900}, 42: {3: 50_000}}
    assert wanted(make_plan(machine, away("2-3"), seen))["dev-40"] == "0"


def test_counts_balance_when_nothing_was_measured() -> None:
    vectors = [
        vector(40, "3", "3", counts={3: 900}),
        vector(41, "3", "3", counts={3: 500}),
        vector(42, "3", "3", counts={3: 450}),
    ]
    plan = make_plan(host(topology(), vectors), away("2-3"))
    assert wanted(plan) == {"dev-40": "0", "dev-41": "1", "dev-42": "1"}
    assert changes(plan)["dev-40"].evidence[0] == "900 interrupts on CPU 3 since boot"
    assert "vectors are balanced by interrupts since boot" in plan.notes


def test_a_moving_vector_takes_its_load_along() -> None:
    vectors = [
        vector(40, "3", "3", counts={0: 1000, 3: 10}),
        vector(41, "1", "1", counts={1: 500}),
        vector(42, "2", "2", counts={2: 600}),
    ]
    assert wanted(make_plan(host(topology(), vectors), away("3"))) == {"dev-40": "0"}


def test_vectors_that_did_not_fire_are_spread() -> None:
    vectors = [vector(irq, "3", "3", counts={3: 0}) for irq in range(40, 46)]
    vectors += [vector(50, "0", "0", counts={0: 10**6})]
    plan = make_plan(host(topology(), vectors), away("3"))
    assert sorted(wanted(plan).values()) == ["0", "1", "1", "1", "2", "2"]


def test_the_devices_node_comes_before_the_agents_cache() -> None:
    two = topology(nodes=2, cores=2)  # node 0: CPUs 0-1, node 1: CPUs 2-3
    near, far, nowhere = (
        vector(irq, "0", "0", node=node) for irq, node in ((40, 0), (41, 1), (42, None))
    )
    plan = make_plan(host(two, [near, far, nowhere]), away("0"))
    assert wanted(plan) == {"dev-40": "1", "dev-41": "2", "dev-42": "1"}
    assert changes(plan)["dev-42"].reason.endswith("this host does not tell the device's NUMA node")


def test_a_remote_cpu_says_why() -> None:
    two = topology(nodes=2, cores=2)
    plan = make_plan(host(two, [vector(40, "0", "0", node=0)]), away("0-1"))
    assert wanted(plan) == {"dev-40": "2"}
    assert changes(plan)["dev-40"].reason == (
        "CPU 0 is an agent core; no housekeeping CPU is on the device's NUMA node 0"
    )


def test_the_agents_cache_comes_first_inside_a_node() -> None:
    caches = topology(cores=4, l3s=2)  # L3: CPUs 0-1, CPUs 2-3
    vectors = [vector(irq, "3", "3", node=0) for irq in (40, 41)]
    assert wanted(make_plan(host(caches, vectors), away("3"))) == {"dev-40": "2", "dev-41": "2"}


def queue_vectors(rx: str, tx: str) -> list:
    return [
        vector(40, rx, rx, interface="eth0", queue=0, direction="rx"),
        vector(41, tx, tx, interface="eth0", queue=0, direction="tx"),
    ]


def test_both_directions_of_a_queue_move_together() -> None:
    plan = make_plan(host(topology(), queue_vectors("3", "3")), away("3"))
    assert wanted(plan) == {"dev-40": "0", "dev-41": "0"}


def test_a_vector_joins_the_other_direction_of_its_queue() -> None:
    plan = make_plan(host(topology(), queue_vectors("3", "2")), away("3"))
    assert wanted(plan) == {"dev-40": "2"}


def test_a_vector_does_not_join_its_queue_on_a_full_cpu() -> None:
    full = [vector(irq, "2", "2") for irq in range(100, 299)]
    plan = make_plan(host(topology(), [*full, *queue_vectors("3", "2")]), away("3"))
    assert wanted(plan) == {"dev-40": "0"}


def test_a_wider_mask_leaves_the_vectors_threads_to_follow() -> None:
    threads = (IrqThread(99, "irq/40-dev", mask("3")),)
    moved = vector(40, "3", "3", threads=threads)
    stays = vector(41, "1", "1", threads=(IrqThread(98, "irq/41-dev", mask("1,3")),))
    plan = make_plan(host(topology(), [moved, stays]), away("3"))
    assert wanted(plan) == {"dev-40": "0"}
    (change,) = changes(plan, KnobKind.IRQ_THREAD_AFFINITY).values()
    assert change.knob.target.endswith("/41/dev-41")
    assert (change.before, change.wanted) == ("1,3", "1")


def test_the_thread_of_a_managed_vector_can_still_leave() -> None:
    managed = vector(
        40,
        "3",
        "3",
        movability=Movability.MANAGED,
        threads=(IrqThread(99, "irq/40-nvme", mask("3")),),
    )
    plan = make_plan(host(topology(), [managed]), away("3"))
    assert [u.irq for u in plan.unmovable] == [40]
    assert "isolcpus=managed_irq,3" in plan.unmovable[0].remedy
    (change,) = plan.changes
    assert change.knob.kind is KnobKind.IRQ_THREAD_AFFINITY
    assert change.wanted == "0-2"


def test_a_vector_without_affinity_file_is_unmovable() -> None:
    silent = replace(vector(40, "3", counts={3: 5}), affinity=None)
    plan = make_plan(host(topology(), [silent]), away("3"))
    assert [(u.irq, u.why) for u in plan.unmovable] == [(40, Movability.NO_AFFINITY_FILE)]


def test_unknown_movability_is_tried_and_said() -> None:
    unsure = vector(40, "3", "3", movability=Movability.UNKNOWN)
    plan = make_plan(host(topology(), [unsure]), away("3"))
    assert wanted(plan) == {"dev-40": "0"}
    assert any("irqs 40:" in note for note in plan.notes)


def test_capacity_is_refused_with_the_arithmetic() -> None:
    moving = [vector(irq, "2-3", "3") for irq in range(100, 512)]
    staying = [vector(irq, "0", "0") for irq in range(40, 71)]
    with pytest.raises(PlanRefused) as refused:
        make_plan(host(topology(), moving + staying), away("2-3"))
    assert refused.value.message == (
        "needs 412 vectors on 2 CPUs (0-1), room for 2 x 200 - 31 in use = 369"
    )


def test_a_full_cpu_is_passed_over() -> None:
    staying = [vector(irq, "1", "1", counts={0: 99}) for irq in range(100, 300)]
    plan = make_plan(host(topology(), [*staying, vector(40, "2-3", "3")]), away("2-3"))
    assert wanted(plan) == {"dev-40": "0"}


def test_a_queue_is_split_when_no_cpu_has_room_for_all_of_it() -> None:
    staying = [vector(irq, "0-1", str(irq % 2)) for irq in range(100, 498)]  # 199 on each
    machine = host(topology(), [*staying, *queue_vectors("3", "3")])
    assert wanted(make_plan(machine, away("2-3"))) == {"dev-40": "0", "dev-41": "1"}


def test_a_full_node_is_left_with_the_reason() -> None:
    two = topology(nodes=2, cores=2)
    full = [vector(irq, "1", "1") for irq in range(100, 300)]
    plan = make_plan(host(two, [*full, vector(40, "0", "0", node=0)]), away("0"))
    assert wanted(plan) == {"dev-40": "2"}
    assert "NUMA node 0 have no vector free" in changes(plan)["dev-40"].reason


def steered(rps: str, xps: str) -> tuple[NetInterface, ...]:
    queues = (NetQueue("rx", 0, mask(rps)), NetQueue("tx", 0, mask(xps)))
    return (NetInterface("eth0", 2, "0000:00:03.0", "ixgbe", queues),)


def test_steering_masks_lose_the_agents_cores() -> None:
    machine = host(topology(), interfaces=steered("0-3", "1,3"))
    plan = make_plan(machine, away("3", steer_rps=True, steer_xps=True))
    assert changes(plan, KnobKind.RPS_CPUS)["rx-0"].wanted == "0-2"
    assert changes(plan, KnobKind.XPS_CPUS)["tx-0"].wanted == "1"


def test_a_send_queue_keeps_the_housekeeping_cpus_it_has() -> None:
    machine = host(topology(), queue_vectors("2", "2"), interfaces=steered("1", "1,3"))
    plan = make_plan(machine, away("3", steer_xps=True))
    assert changes(plan, KnobKind.XPS_CPUS)["tx-0"].wanted == "1"


def test_a_send_queue_does_not_follow_a_vector_that_cannot_leave() -> None:
    managed = vector(40, "3", "3", interface="eth0", queue=0, movability=Movability.MANAGED)
    machine = host(topology(), [managed], interfaces=steered("1", "3"))
    plan = make_plan(machine, away("3", steer_xps=True))
    assert changes(plan, KnobKind.XPS_CPUS)["tx-0"].wanted == "0-2"


def test_steering_that_the_profile_leaves_stays() -> None:
    machine = host(topology(), interfaces=steered("0-3", "1,3"))
    assert make_plan(machine, away("3")).changes == ()


def test_steering_to_agent_cores_only_goes_to_housekeeping_or_the_vector() -> None:
    vectors = queue_vectors("3", "3")
    machine = host(topology(), vectors, interfaces=steered("3", "3"))
    plan = make_plan(machine, away("3", steer_rps=True, steer_xps=True))
    assert changes(plan, KnobKind.RPS_CPUS)["rx-0"].wanted == "0-2"
    assert changes(plan, KnobKind.XPS_CPUS)["tx-0"].wanted == "0"


def test_near_keeps_the_cache_but_not_the_core() -> None:
    caches = topology(cores=4, l3s=2, smt=2)  # L3: cores 0-1 (CPUs 0,1,4,5), cores 2-3
    io = vector(40, "0", "0", interface="eth0", queue=0)
    other = vector(41, "0", "0")
    plan = make_plan(host(caches, [io, other]), away("3", placement=Placement.NEAR))
    assert wanted(plan) == {"dev-40": "2"}
    assert changes(plan)["dev-40"].reason == "CPUs 0 are not among those near the agent"


def test_same_puts_queues_on_the_agents_cpus() -> None:
    io = vector(40, "0", "0", block="nvme0n1")
    plan = make_plan(
        host(topology(), [io, vector(41, "3", "3")]), away("3", placement=Placement.SAME)
    )
    assert wanted(plan) == {"dev-40": "3"}
    assert plan.avoided_cpus == mask("")


def test_targets_are_device_keys() -> None:
    machine = host(topology(), [vector(40, "3", "3", key=VectorKey("0000:00:05.0", 2, "eth0-q"))])
    plan = make_plan(machine, away("3"))
    assert [str(c.knob) for c in plan.changes] == ["vector-affinity 0000:00:05.0/2/eth0-q"]
    assert make_plan(applied(machine, plan), away("3")).changes == ()
