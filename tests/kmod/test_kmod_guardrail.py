# SPDX-License-Identifier: GPL-2.0-only
"""The guardrail bounds net_rx_action() on agent CPUs only, by the kernel's own trace events."""

from __future__ import annotations

import errno
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors import eventually
from client import GUARDRAIL, NAPI, SYSCTLS, opened, set_sysctl
from floods import (
    BUSY_CPU,
    busy_nics,
    drops,
    endless_flood,
    flood,
    squeezes,
    steered,
    transfer,
)
from guardrail import NS, PACKETS, bound, bounded, report
from loading import KernelModule
from net_rx import Action, Recording, largest, recorded

from vm.lab.machine import FLOOD_NIC
from vm.scene import interfaces
from vm.scene.softnet import softnet

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

FLOOD_PACKETS = 6000
BUDGET = 16
OWN_WEIGHT = 64  # NAPI_POLL_WEIGHT, and net.core.dev_weight


@pytest.fixture(scope="module")
def nics() -> Iterator[None]:
    """The scene's NICs, up once for all tests here."""
    with busy_nics():
        yield


@pytest.fixture
def hooked(module: KernelModule, nics: None) -> None:
    """The module, loaded, and the NICs."""
    assert module.loaded
    assert report().settings["hooked"] == 1


def weights(actions: list[Action]) -> set[int]:
    return {poll.weight for action in actions for poll in action.polls}


def flooded() -> tuple[Recording, dict[int, int]]:
    """One flood: what NET_RX did meanwhile, and each CPU's squeezes. Nothing was lost."""
    before = softnet()
    with recorded() as recording:
        flood(FLOOD_PACKETS)
    after = softnet()
    assert drops(before, after) == 0
    return recording, squeezes(before, after)


def test_it_is_off_and_offered(hooked: None) -> None:
    assert bound(PACKETS) == bound(NS) == 0
    with opened() as client:
        _, features, _ = client.info()
    assert features & (NAPI | GUARDRAIL) == NAPI | GUARDRAIL
    mode = Path("/sys/kernel/debug/agent_latency/guardrail").stat().st_mode
    assert mode & 0o777 == 0o400


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (PACKETS, [1, 65535], [-1, 65536, 4294967297, "many", ""]),
        (NS, [10000, 10_000_000], [-1, 1, 9999, 10_000_001, "1ms"]),
    ],
)
def test_a_bad_bound_is_refused(
    module: KernelModule, name: str, good: list[int], bad: list[object]
) -> None:
    assert module.loaded
    try:
        for value in good:
            set_sysctl(name, value)
            assert bound(name) == value
            for wrong in bad:
                with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                    set_sysctl(name, wrong)
                assert bound(name) == value
    finally:
        set_sysctl(name, 0)


def test_a_flood_is_bounded_on_the_agent_cpu(hooked: None) -> None:
    free, free_squeezes = flooded()
    assert largest(free.on(BUSY_CPU)) > BUDGET
    assert weights(free.actions) == {OWN_WEIGHT}
    with bounded(packets=BUDGET):
        held, held_squeezes = flooded()
        counted = report()
    actions = held.on(BUSY_CPU)
    assert sum(action.packets for action in actions) >= FLOOD_PACKETS
    assert largest(actions) == BUDGET
    assert max(weights(actions)) == BUDGET
    assert weights(held.off(BUSY_CPU)) <= {OWN_WEIGHT}
    # More than without, by about as often as it left; elsewhere as ever.
    mine = counted.of("agent")[BUSY_CPU]
    assert mine["left_packets"] >= FLOOD_PACKETS // BUDGET // 2
    assert held_squeezes[BUSY_CPU] >= mine["left_packets"]
    assert free_squeezes[BUSY_CPU] < mine["left_packets"]
    assert sum(held_squeezes.values()) - held_squeezes[BUSY_CPU] < mine["left_packets"] // 10
    # The module's own counts agree with the trace.
    assert mine["largest"] == BUDGET
    assert mine["packets"] >= FLOOD_PACKETS
    assert mine["over_packets"] == 0
    assert mine["lowered"] >= mine["left_packets"]
    assert sum(mine.sizes.values()) == mine["actions"]
    assert set(counted.of("agent")) == {BUSY_CPU}


def test_other_cpus_are_as_before(hooked: None) -> None:
    free, free_squeezes = flooded()
    with bounded(packets=1, ns=10000, cpus="0,2"):
        held, held_squeezes = flooded()
        counted = report()
    assert weights(held.on(BUSY_CPU)) == {OWN_WEIGHT}
    other = counted.of("other")[BUSY_CPU]
    assert other["left_packets"] == other["left_ns"] == other["lowered"] == 0
    before, now = (
        [action.packets for action in recording.on(BUSY_CPU) if action.packets]
        for recording in (free, held)
    )
    assert max(now) >= OWN_WEIGHT // 2
    assert statistics.median(before) / 2 <= statistics.median(now) <= statistics.median(before) * 2
    assert held_squeezes[BUSY_CPU] <= 2 * free_squeezes[BUSY_CPU] + FLOOD_PACKETS // OWN_WEIGHT


def test_the_backlog_is_bounded(hooked: None, guest_facts: dict[str, str]) -> None:
    steered_to = 2
    with steered(steered_to), bounded(packets=BUDGET, cpus=str(steered_to)):
        recording, squeezed = flooded()
        counted = report()
    if guest_facts["kernel"].endswith("-rt"):
        # A NAPI with a thread of its own there.
        assert counted.counts[steered_to, "threaded"]["packets"] >= FLOOD_PACKETS
        return
    actions = recording.on(steered_to)
    assert sum(action.packets for action in actions) >= FLOOD_PACKETS
    assert largest(actions) == BUDGET
    assert squeezed[steered_to] >= counted.of("agent")[steered_to]["left_packets"] > 0
    assert weights(recording.off(steered_to)) == {OWN_WEIGHT}


def test_tcp_with_gro_arrives_whole(hooked: None) -> None:
    with bounded(packets=8), recorded() as recording:
        assert transfer(4)
    actions = recording.on(BUSY_CPU)
    assert largest(actions) == 8
    assert sum(action.packets for action in actions) > 100


def test_several_napis_share_one_bound(hooked: None) -> None:
    with bounded(packets=BUDGET), endless_flood(), recorded() as recording:
        assert transfer(1)
    actions = recording.on(BUSY_CPU)
    assert largest(actions) == BUDGET
    shared = [action for action in actions if action.busy_napis > 1]
    assert largest(shared) == BUDGET
    # Each weight is what the polls before it left over.
    for action in shared:
        left = BUDGET
        for poll in action.polls:
            assert poll.weight == min(OWN_WEIGHT, left)
            left -= poll.packets


@pytest.mark.thorough
def test_a_bound_changes_under_traffic(hooked: None) -> None:
    with bounded(), endless_flood():
        for budget in (8, 48, 1, 0, 30):
            set_sysctl(PACKETS, budget)
            time.sleep(0.3)  # a net_rx_action() keeps the bound it began with
            with recorded() as recording:
                time.sleep(0.7)
            actions = recording.on(BUSY_CPU)
            if budget:
                assert largest(actions) == budget
                assert report().of("agent")[BUSY_CPU]["largest"] == budget
            else:
                assert largest(actions) > 48
                assert weights(actions) == {OWN_WEIGHT}


def test_time_is_bounded(hooked: None) -> None:
    """By ratio: what a packet takes here nobody knows."""
    free, _ = flooded()
    took = statistics.median(action.us for action in free.on(BUSY_CPU) if action.packets)
    limit_us = min(max(took / 8, 10), 10_000)
    with bounded(ns=int(limit_us * 1000)):
        held, _ = flooded()
        counted = report().of("agent")[BUSY_CPU]
    busy = [action for action in held.on(BUSY_CPU) if action.packets]
    assert counted["left_ns"] > len(busy) // 4
    assert counted["left_packets"] == 0
    assert counted["lowered"] > 0
    assert statistics.median(action.us for action in busy) < took / 2
    assert weights(held.off(BUSY_CPU)) <= {OWN_WEIGHT}


@pytest.mark.thorough
def test_both_bounds_hold_together(hooked: None) -> None:
    with bounded(packets=4, ns=10_000_000):
        held, _ = flooded()
    assert largest(held.on(BUSY_CPU)) == 4


def test_an_attached_thread_makes_an_agent_cpu(hooked: None) -> None:
    """And only while it is attached."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {BUSY_CPU})
    try:
        with bounded(packets=BUDGET, cpus=""), opened() as client:
            client.attach()
            with recorded() as held:
                flood(FLOOD_PACKETS)
            client.detach()
            set_sysctl(PACKETS, BUDGET + 1)
            with recorded() as free:
                flood(FLOOD_PACKETS)
    finally:
        os.sched_setaffinity(0, before)
    assert largest(held.on(BUSY_CPU)) == BUDGET
    assert weights(free.on(BUSY_CPU)) == {OWN_WEIGHT}


def test_threads_are_counted_not_bounded(hooked: None) -> None:
    with (
        interfaces.threaded(FLOOD_NIC),
        bounded(packets=BUDGET, cpus="0-3"),
        recorded() as recording,
    ):
        flood(FLOOD_PACKETS)
        counted = report().of("threaded")
    assert sum(counts["packets"] for counts in counted.values()) >= FLOOD_PACKETS
    assert sum(poll.packets for poll in recording.outside) >= FLOOD_PACKETS
    assert {poll.weight for poll in recording.outside} == {OWN_WEIGHT}


@pytest.mark.parametrize("parameter", [{PACKETS: 70000}, {NS: 5}, {PACKETS: -1}])
def test_a_bad_parameter_is_refused(module: KernelModule, parameter: dict[str, int]) -> None:
    with module.away():
        with pytest.raises(subprocess.CalledProcessError, match=r"."):
            module.load(**parameter)
        assert not module.loaded


def test_parameters_bound_from_the_start(module: KernelModule, nics: None) -> None:
    with module.loaded_with(agent_cpus=BUSY_CPU, **{PACKETS: 5, NS: 500_000}):
        assert (bound(PACKETS), bound(NS)) == (5, 500_000)
        recording, _ = flooded()
    assert 0 < largest(recording.on(BUSY_CPU)) <= 5


@pytest.mark.thorough
def test_it_goes_under_traffic(module: KernelModule, nics: None) -> None:
    """Weights are what they were, and nothing stalls."""
    with endless_flood():
        for _ in range(3):
            with bounded(packets=3, ns=200_000):
                eventually(lambda: BUSY_CPU in report().of("agent"))
                with module.away():
                    assert not SYSCTLS.exists()
                    with recorded() as recording:
                        time.sleep(0.5)
            assert weights(recording.actions) == {OWN_WEIGHT}
            assert largest(recording.on(BUSY_CPU)) > 3
