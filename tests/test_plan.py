# SPDX-License-Identifier: GPL-2.0-only
"""Plans as a whole: whose CPUs, in what order, what is refused, what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policy_hosts import applied, host, mask, measurement, task, topology, vector

from agenttune.errors import PlanRefused
from agenttune.host.host import CpusetPartition, Host, NetInterface, NetQueue, Writer
from agenttune.host.selector import Selector
from agenttune.measure.measurement import AgentLoad, CpuSqueeze
from agenttune.policy.plan import KnobKind
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile, SoftirqBudget

AWAY = Profile("test", "", placement=Placement.AWAY)
ON_3 = replace(AWAY, agent_cpus=mask("3"))
SYSCTLS = {
    "net.core.netdev_budget": 300,
    "net.core.netdev_budget_usecs": 8000,
    "net.core.dev_weight": 64,
}


def refusal(machine: Host, profile: Profile, *args: object) -> str:
    with pytest.raises(PlanRefused) as refused:
        make_plan(machine, profile, *args)  # type: ignore[arg-type]
    assert refused.value.hint
    return refused.value.message


def test_no_cpu_left_is_refused_with_the_arithmetic() -> None:
    message = refusal(host(topology(smt=2)), replace(AWAY, agent_cpus=mask("0-3")))
    assert message == (
        "no housekeeping CPU left: agent CPUs 0-3, siblings 4-7 cover all 8 online CPUs (0-7)"
    )


def test_isolated_cpus_count_in_the_arithmetic() -> None:
    message = refusal(host(topology(isolated="0-1")), replace(AWAY, agent_cpus=mask("2-3")))
    assert "agent CPUs 2-3, no siblings, isolated CPUs 0-1 cover all 4 online CPUs" in message
    given = replace(AWAY, agent_cpus=mask("2-3"), housekeeping_cpus=mask("0"))
    assert make_plan(host(topology(isolated="0-1")), given).housekeeping_cpus == mask("0")


def test_other_tenants_isolated_cpus_take_no_interrupts() -> None:
    machine = host(topology(isolated="0"), [vector(40, "3", "3")])
    (change,) = make_plan(machine, ON_3).changes
    assert change.wanted == "1"


def test_offline_and_absent_agent_cpus_are_refused() -> None:
    machine = host(topology(offline=[3]))
    assert "include 3, offline here; online are 0-2" in refusal(machine, ON_3)
    message = refusal(machine, replace(AWAY, agent_cpus=mask("2,64")))
    assert message == "agent CPUs 2,64 include 64, but this host has CPUs 0-3"


def test_housekeeping_on_agent_cores_is_refused() -> None:
    profile = replace(AWAY, agent_cpus=mask("3"), housekeeping_cpus=mask("0,7"))
    message = refusal(host(topology(smt=2)), profile)
    assert message == (
        "housekeeping CPUs 0,7 and agent cores 3,7 (agent CPUs 3 with their SMT siblings) share 7"
    )


def test_offline_housekeeping_cpus_are_left_out_and_said() -> None:
    profile = replace(ON_3, housekeeping_cpus=mask("1-2"))
    plan = make_plan(host(topology(offline=[2])), profile)
    assert plan.housekeeping_cpus == mask("1")
    assert "housekeeping CPUs 2 are not online: left out" in plan.notes
    assert "none of 2 is online" in refusal(
        host(topology(offline=[2])), replace(ON_3, housekeeping_cpus=mask("2"))
    )


def test_auto_takes_the_agents_own_mask_first() -> None:
    agents = (task(7, "2-3"), task(8, "0-3"))
    plan = make_plan(host(topology(isolated="1"), agents=agents), AWAY)
    assert plan.agent_cpus == mask("2-3")
    assert "agent CPUs 2-3: 1 of 2 agent threads may only run there" in plan.notes


def test_auto_does_not_take_isolcpus_shadow_for_a_choice() -> None:
    machine = host(topology(isolated="2-3"), agents=(task(7, "0-1"),))
    assert "nothing shows which CPUs" in refusal(machine, AWAY)
    assert make_plan(machine, replace(AWAY, pin_agent=True)).agent_cpus == mask("2-3")


def test_auto_takes_valid_isolated_partitions() -> None:
    partitions = (
        CpusetPartition("/a", "isolated", mask("2")),
        CpusetPartition("/b", "isolated invalid (Parent is not a partition root)", mask("1")),
        CpusetPartition("/c", "root", mask("3")),
    )
    machine = host(replace(topology(), partitions=partitions))
    assert make_plan(machine, AWAY).agent_cpus == mask("2")
    of_cpuset = replace(AWAY, agent_cpuset="/c")
    assert make_plan(machine, of_cpuset).agent_cpus == mask("3")
    assert "no cpuset /d (it shows: /a, /b, /c)" in refusal(
        machine, replace(AWAY, agent_cpuset="/d")
    )


def test_auto_takes_where_the_agent_was_seen_last() -> None:
    loads = (AgentLoad("agent", 7, 3, 9_960, 5), AgentLoad("agent", 7, 1, 40, 1))
    plan = make_plan(host(topology()), AWAY, measurement(agents=loads))
    assert plan.agent_cpus == mask("3")
    assert "agent CPUs 3: the agent was seen running there in 10.0 s" in plan.notes


def test_auto_without_evidence_says_what_is_lacking() -> None:
    machine = host(topology(), agents=(task(7, "0-3"),))
    assert refusal(machine, AWAY) == (
        "nothing shows which CPUs are the agent's: the agent may run on every online CPU, "
        "no CPU is isolated for it, a measurement is missing"
    )


def test_a_profile_that_changes_nothing_needs_no_agent() -> None:
    plan = make_plan(host(topology(), [vector(40, "3", "3")]), Profile("observe", ""))
    assert plan.changes == ()
    assert not plan.agent_cpus


def everything() -> tuple[Host, Profile]:
    machine = host(
        topology(),
        [vector(40, "3", "3"), vector(41, "0-3", "0")],
        default_affinity=mask("0-3"),
        interfaces=(NetInterface("eth0", 2, None, None, (NetQueue("rx", 0, mask("2-3")),)),),
        sysctls=SYSCTLS,
        agents=(task(8, "0-3"), task(7, "3")),
        writers=(Writer("irqbalance", True, "pid 500", ("vector-affinity",)),),
    )
    profile = replace(
        ON_3,
        default_affinity=True,
        steer_rps=True,
        pin_agent=True,
        softirq=SoftirqBudget(netdev_budget=128, dev_weight=64),
    )
    return machine, profile


def test_the_order_of_changes() -> None:
    machine, profile = everything()
    plan = make_plan(machine, profile)
    assert [(str(c.knob.kind), c.knob.target, c.before, c.wanted) for c in plan.changes] == [
        ("irqbalance-bans", "", "", "40,41"),
        ("sysctl", "net.core.netdev_budget", "300", "128"),
        ("default-affinity", "", "0-3", "0-2"),
        ("vector-affinity", "0000:00:03.0/40/dev-40", "3", "1"),
        ("vector-affinity", "0000:00:03.0/41/dev-41", "0-3", "0-2"),
        ("rps-cpus", "eth0/rx-0", "2-3", "2"),
        ("task-affinity", "8@108", "0-3", "3"),
    ]
    assert all(change.reason and change.label for change in plan.changes)
    assert make_plan(applied(machine, plan), profile).changes == ()


def test_bans_only_when_irqbalance_runs_and_vectors_move() -> None:
    machine, profile = everything()
    idle = replace(machine, writers=(Writer("irqbalance", False, "", ("vector-affinity",)),))
    assert make_plan(idle, profile).changes[0].knob.kind is KnobKind.SYSCTL
    done = applied(machine, make_plan(machine, profile))
    assert make_plan(done, profile).changes == ()
    assert any("IRQBALANCE_BANNED_CPULIST=3" in n for n in make_plan(machine, profile).notes)


def test_other_writers_of_the_same_knobs_are_named() -> None:
    machine, profile = everything()
    rivals = (
        Writer("tuned", True, "profile network-latency", ("sysctl", "vector-affinity")),
        Writer("systemd .link", None, "/etc/systemd/network/10.link", ("vector-affinity",)),
        Writer("tuned-ppd", True, "x", ("governor",)),
        Writer("dead", False, "x", ("sysctl",)),
    )
    notes = make_plan(replace(machine, writers=rivals), profile).notes
    named = [note for note in notes if "may undo" in note]
    assert [note.split(" is ")[0] for note in named] == ["tuned", "systemd .link"]
    assert "also writes sysctl, vector-affinity (profile network-latency)" in named[0]


def test_an_unreadable_limit_is_left_and_said() -> None:
    profile = Profile("test", "", softirq=SoftirqBudget(netdev_budget=128))
    plan = make_plan(host(topology()), profile)
    assert plan.changes == ()
    assert "net.core.netdev_budget cannot be read on this host: left alone" in plan.notes


def test_squeezes_are_the_evidence_of_a_limit() -> None:
    profile = Profile("test", "", softirq=SoftirqBudget(netdev_budget_usecs=20_000))
    seen = measurement(squeezes=(CpuSqueeze(0, 3), CpuSqueeze(2, 4)))
    (change,) = make_plan(host(topology(), sysctls=SYSCTLS), profile, seen).changes
    assert (change.before, change.wanted) == ("8000", "20000")
    assert change.evidence == ("7 runs ended with work left in 10.0 s (time_squeeze)",)


def test_nobody_to_pin_is_said() -> None:
    profile = replace(ON_3, pin_agent=True, selectors=(Selector.parse("comm:agent"),))
    plan = make_plan(host(topology()), profile)
    assert "no agent thread found (selectors: comm:agent): nothing is pinned" in plan.notes


def test_a_measurement_of_another_boot_is_said() -> None:
    plan = make_plan(host(topology()), ON_3, measurement(boot_id="other"))
    assert any("another boot" in note for note in plan.notes)


def test_unknown_siblings_are_said() -> None:
    cpus = tuple(replace(cpu, siblings=None) for cpu in topology().cpus)
    plan = make_plan(host(replace(topology(), cpus=cpus)), ON_3)
    assert "this host does not tell the SMT siblings of CPUs 3: none are avoided" in plan.notes
