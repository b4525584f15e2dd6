# SPDX-License-Identifier: GPL-2.0-only
"""From an engine's counters to a Measurement, with a host made by hand."""

from __future__ import annotations

from dataclasses import replace

from agenttune.document import decode, encode
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Movability, Topology, Vector, VectorKey
from agenttune.measure.engine import Counters, IrqCounters, NapiCounters, SoftirqCounters
from agenttune.measure.figures import Window, figures
from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import (
    AgentLoad,
    ArchLoad,
    Coverage,
    CpuSqueeze,
    Measurement,
    Missing,
    NapiLoad,
    VectorLoad,
)

KEY = VectorKey("0000:00:03.0", 1, "virtio1-input.0")
HOST = Host(
    root="/",
    live=True,
    kernel="6.12",
    boot_id=None,
    topology=Topology(cpus=(), online=CpuMask(3)),
    vectors=(Vector(irq=45, key=KEY, movability=Movability.MOVABLE),),
)
WINDOW = Window(
    length_ns=1_000_000_000,
    boot_id="0",
    kernel="6.12",
    engine="libbpf",
    selectors=("comm:agent",),
    online="0-1",
    netns=4026531840,
    squeezes_before={0: 5, 1: 0xFFFFFFFF},
    squeezes_after={0: 5, 1: 2},
)
COUNTERS = Counters(
    irqs=(
        IrqCounters(46, 0, 1, Histogram.of([500])),
        IrqCounters(45, 1, 2, Histogram.of([100, 300])),
        IrqCounters(45, 0, 1, Histogram.of([200])),
    ),
    archs=(ArchLoad("LOC", 0, 10, 1000),),
    softirqs=(
        SoftirqCounters("NET_RX", 0, 2, 40, Histogram.of([40, 60]), Histogram.of([7])),
        SoftirqCounters("NET_RX", 1, 1, 0, Histogram.of([10]), Histogram()),
    ),
    napis=(
        NapiCounters("eth0", WINDOW.netns, 0, 2, 1, Histogram.of([64, 3])),
        NapiCounters("eth0", 4026532000, 0, 1, 0, Histogram.of([1])),
        NapiCounters("backlog", 0, 1, 1, 0, Histogram.of([2])),
    ),
    agents=(AgentLoad("agent", 7, 0, 100, 2, 5),),
    wakeups={"hardirq": Histogram.of([1000])},
    coverage=Coverage(0, 0, 1, (Missing("napi_poll", "none", "no polls"),)),
)


def find(found: Measurement, metric: str) -> dict[str, Histogram]:
    return {d.subject: d.histogram for d in found.distributions if d.metric == metric}


def test_irq_numbers_become_vectors() -> None:
    assert figures(COUNTERS, WINDOW, HOST).vectors == (
        VectorLoad(45, KEY, 0, 1, 200),
        VectorLoad(45, KEY, 1, 2, 400),
        VectorLoad(46, None, 0, 1, 500),
    )


def test_without_a_host_numbers_stay_numbers() -> None:
    found = figures(COUNTERS, WINDOW, None)
    assert all(load.key is None for load in found.vectors)
    assert set(find(found, "hardirq-time")) == {"irq 45", "irq 46"}


def test_a_distribution_is_over_all_cpus() -> None:
    found = figures(COUNTERS, WINDOW, HOST)
    hardirqs = find(found, "hardirq-time")
    assert hardirqs == {
        f"irq 45 {KEY}": Histogram.of([100, 200, 300]),
        "irq 46": Histogram.of([500]),
    }
    assert find(found, "softirq-time") == {"NET_RX": Histogram.of([40, 60, 10])}
    assert find(found, "softirq-latency") == {"NET_RX": Histogram.of([7])}
    assert find(found, "wakeup-latency") == {"hardirq": Histogram.of([1000])}


def test_equal_names_in_other_namespaces_stay_apart() -> None:
    found = figures(COUNTERS, WINDOW, HOST)
    assert found.napi == (
        NapiLoad("backlog", 1, 1, 2, 0),
        NapiLoad("eth0", 0, 2, 67, 1),
        NapiLoad("eth0@4026532000", 0, 1, 1, 0),
    )
    assert set(find(found, "napi-packets-per-poll")) == {"backlog", "eth0", "eth0@4026532000"}


def test_squeezes_are_of_the_window_even_when_the_counter_wraps() -> None:
    assert figures(COUNTERS, WINDOW, HOST).squeezes == (CpuSqueeze(1, 3),)


def test_a_cpu_that_came_up_counts_from_zero() -> None:
    window = replace(WINDOW, squeezes_before={}, squeezes_after={2: 4})
    assert figures(COUNTERS, window, HOST).squeezes == (CpuSqueeze(2, 4),)


def test_a_measurement_survives_saving() -> None:
    found = figures(COUNTERS, WINDOW, HOST)
    assert decode("measurement", Measurement, encode("measurement", found), "test") == found
