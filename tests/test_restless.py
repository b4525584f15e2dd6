# SPDX-License-Identifier: GPL-2.0-only
"""A vector whose NAPI never rested cannot leave yet: which ones, and that the plan says so."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from policy_hosts import host, mask, measurement, topology, vector

from agenttune.host.host import Host
from agenttune.measure.measurement import Measurement, NapiLoad, VectorLoad
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Placement, Profile
from agenttune.policy.restless import restless

ON_3 = Profile("test", "", agent_cpus=mask("3"), placement=Placement.AWAY)
ON_SAME = Profile("test", "", agent_cpus=mask("3"), placement=Placement.SAME)
# Two NICs, each with its configuration vector; eth1 has another queue elsewhere.
HOST = host(
    topology(),
    [
        vector(40, "3", "3", interface="eth0", queue=0),
        vector(41, "3", "3", interface="eth0"),
        vector(42, "3", "3", interface="eth1", queue=0),
        vector(43, "1", "1", interface="eth1", queue=1),
        vector(44, "3", "3"),
    ],
)


def seen(
    polls: Iterable[tuple[str, int]], counts: dict[tuple[int, int], int], machine: Host = HOST
) -> Measurement:
    """NAPI polls by device and CPU, interrupts by IRQ number and CPU."""
    keys = {each.irq: each.key for each in machine.vectors}
    return measurement(
        [VectorLoad(irq, keys[irq], cpu, n, n * 1000) for (irq, cpu), n in counts.items()],
        napi=tuple(NapiLoad(device, cpu, 50, 3000, 50) for device, cpu in polls),
    )


@pytest.mark.parametrize(
    ("polls", "counts", "irqs"),
    [
        ([("eth0", 3)], {}, {40}),
        # An interrupt of its own, there or where it already is.
        ([("eth0", 3)], {(40, 3): 1}, set()),
        ([("eth0", 3)], {(40, 1): 1}, set()),
        # One of the same device there, which may have begun the polls.
        ([("eth0", 3)], {(41, 3): 1}, set()),
        # Its other queue interrupts, elsewhere.
        ([("eth1", 3), ("eth1", 1)], {(43, 1): 900}, {42}),
        # Polled elsewhere: by a thread, or by a busy reader.
        ([("eth0", 2)], {}, set()),
        # On a CPU that nobody avoids.
        ([("eth1", 1)], {}, set()),
        ([("eth0", 3), ("eth1", 3)], {}, {40, 42}),
        ([("(no_device)", 3)], {}, set()),
    ],
)
def test_which_cannot_leave(
    polls: list[tuple[str, int]], counts: dict[tuple[int, int], int], irqs: set[int]
) -> None:
    found = restless(mask("3"), HOST, seen(polls, counts))
    assert {each.irq for each in HOST.vectors if each.key in found} == irqs
    assert set(found.values()) <= {mask("3")}


def test_a_nic_without_named_queues_has_its_one_vector() -> None:
    machine = host(topology(), [vector(40, "3", "3", interface="eth0")])
    found = restless(mask("3"), machine, seen([("eth0", 3)], {}, machine))
    assert list(found) == [machine.vectors[0].key]


def test_a_vector_that_fires_everywhere_it_may_is_told_by_the_cpu_that_polled() -> None:
    machine = host(topology(), [vector(40, "2-3", "2-3", interface="eth0")])
    found = restless(mask("2-3"), machine, seen([("eth0", 2)], {}, machine))
    assert list(found.values()) == [mask("2")]


def test_the_plan_says_what_will_not_move_yet() -> None:
    polls = seen([("eth0", 3)], {(42, 3): 700})
    (note,) = (note for note in make_plan(HOST, ON_3, polls).notes if "lets up" in note)
    assert note.startswith("eth0: CPU 3 polled it all through the measurement")
    assert not any("lets up" in note for note in make_plan(HOST, ON_3).notes)


def test_of_what_stays_by_the_plan_nothing_is_said() -> None:
    plan = make_plan(HOST, ON_SAME, seen([("eth0", 3)], {}))
    assert [change.knob.target for change in plan.changes] == [str(HOST.vectors[3].key)]
    assert not any("lets up" in note for note in plan.notes)
