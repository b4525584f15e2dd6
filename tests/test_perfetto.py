# SPDX-License-Identifier: GPL-2.0-only
"""The Perfetto export against the rules of the Trace Event Format."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import traces
from hypothesis import given, settings
from traces import BEGIN_NS, MS, US, chain, holder, step, trace, wait

from agenttune.measure.trace import Trace
from agenttune.report.perfetto import CPUS, perfetto_events, perfetto_json

WOKEN_ELSEWHERE = wait(
    1 * MS,
    10 * MS,
    waking_ns=2 * MS,
    chain=chain(
        irq_cpu=1,
        irq_ns=BEGIN_NS + 1_900 * US,
        raise_ns=BEGIN_NS + 1_905 * US,
        entry_ns=BEGIN_NS + 1_910 * US,
        cpu=1,
    ),
    waker_cpu=1,
    holder=holder("hog", 8 * MS),
)


def check(events: list[dict[str, Any]]) -> None:
    """Raises AssertionError for what the format, or its importers, do not accept."""
    rows: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    named = set()
    flows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        assert event["ph"] in {"X", "M", "s", "t", "f"}
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert event["ts"] >= 0
        where = event["pid"], event["tid"]
        if event["ph"] == "M":
            named.add(where if event["name"] == "thread_name" else (event["pid"], None))
        elif event["ph"] == "X":
            assert event["dur"] >= 0
            rows[where].append(event)
        else:
            assert type(event["id"]) is int
            flows[event["id"]].append(event)
    for where, slices in rows.items():
        assert where in named
        assert (where[0], None) in named
        check_nesting(slices)
    for steps in flows.values():
        phases = [event["ph"] for event in steps]
        assert phases == ["s", *["t"] * (len(phases) - 2), "f"]
        assert [event["ts"] for event in steps] == sorted(event["ts"] for event in steps)
        assert steps[-1]["bp"] == "e"
        assert all(binds(event, rows[event["pid"], event["tid"]]) for event in steps)


def check_nesting(slices: list[dict[str, Any]]) -> None:
    open_ends: list[int] = []
    before = 0.0
    for each in slices:
        assert each["ts"] >= before, "a row's slices are not in order of time"
        before = each["ts"]
        begin, end = round(each["ts"] * 1000), round((each["ts"] + each["dur"]) * 1000)
        while open_ends and open_ends[-1] <= begin:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1], "slices overlap without nesting"
        open_ends.append(end)


def binds(flow: dict[str, Any], slices: list[dict[str, Any]]) -> bool:
    return any(each["ts"] <= flow["ts"] < each["ts"] + each["dur"] for each in slices)


@settings(max_examples=60)
@given(traces.traces())
def test_any_trace_follows_the_format(made: Trace) -> None:
    check(perfetto_events(made))


def test_the_document_is_json_that_the_viewers_know() -> None:
    made = trace([step(12 * MS, [WOKEN_ELSEWHERE])])
    found = msgspec.json.decode(perfetto_json(made))
    assert found["displayTimeUnit"] == "ns"
    assert found["traceEvents"] == perfetto_events(made)
    assert perfetto_json(made) == perfetto_json(made)


def test_slices_say_who_had_which_cpu() -> None:
    events = perfetto_events(trace([step(12 * MS, [WOKEN_ELSEWHERE])]))
    rows = {
        (each["pid"], each["tid"]): each["args"]["name"]
        for each in events
        if each["name"] == "thread_name"
    }
    on_cpus = {
        (rows[each["pid"], each["tid"]], each["name"], each["ts"], each["dur"])
        for each in events
        if each["ph"] == "X" and each["pid"] == CPUS
    }
    second = 1e6  # the step begins a second after the window, in us
    vector = "vector 45 (0000:00:03.0 virtio1-input.0)"
    assert on_cpus == {
        ("CPU 3 task", "agent (77)", second, 1000.0),
        ("CPU 1 hardirq", vector, second + 1900, 5.0),
        ("CPU 1 softirq", f"NET_RX raised by {vector}", second + 1910, 90.0),
        ("CPU 3 task", "held by hog (tid 500)", second + 2000, 8000.0),
        ("CPU 3 task", "agent (77)", second + 10_000, 2000.0),
    }


def test_one_flow_follows_the_chain_across_cpus() -> None:
    events = perfetto_events(trace([step(12 * MS, [WOKEN_ELSEWHERE])]))
    flow = [(each["ph"], each["ts"] - 1e6) for each in events if each["ph"] in "stf"]
    assert flow == [("s", 1900), ("t", 1910), ("f", 10_000)]


def test_a_kernel_thread_carries_the_flow_on() -> None:
    carried = chain(
        irq_cpu=1,
        irq_ns=BEGIN_NS + 7 * MS,
        entry_ns=BEGIN_NS + 7_100 * US,
        thread_ns=BEGIN_NS + 7_200 * US,
        conduit=500,
        cpu=0,
    )
    made = wait(1 * MS, 10 * MS, waking_ns=9 * MS, chain=carried, waker_cpu=0)
    events = perfetto_events(trace([step(12 * MS, [made])]))
    check(events)
    rows = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"
            and each["pid"] == CPUS}  # fmt: skip
    flow = [(each["ph"], rows[each["tid"]]) for each in events if each["ph"] in "stf"]
    assert flow == [
        ("s", "CPU 1 hardirq"),
        ("t", "CPU 1 softirq"),
        ("t", "CPU 0 task"),
        ("f", "CPU 3 task"),
    ]


def test_a_step_carries_its_sentence_and_buckets() -> None:
    events = perfetto_events(trace([step(12 * MS, [WOKEN_ELSEWHERE])]))
    (found,) = (each for each in events if each["name"] == "step 4711 (search)")
    assert found["args"]["why"].startswith("step 4711 (search) took 12.0 ms: 8.00 ms (67 %)")
    assert found["args"]["run queue us"] == 8000
    assert found["args"]["residual us"] == 0
    inside = [each["name"] for each in events if each["pid"] == found["pid"] and each["ph"] == "X"]
    assert inside == [
        "step 4711 (search)",
        "blocked",
        "external",
        "hardirq",
        "softirq pending",
        "softirq",
        "run queue",
    ]


def test_steps_that_overlap_get_rows_of_their_own() -> None:
    one = step(10 * MS, id=1)
    other = step(10 * MS, id=2, begin_ns=BEGIN_NS + 5 * MS, end_ns=BEGIN_NS + 15 * MS)
    events = perfetto_events(trace([one, other]))
    check(events)
    rows = {each["tid"] for each in events if each["name"].startswith("step ")}
    assert len(rows) == 2


def test_an_interrupt_that_several_steps_tell_of_is_drawn_once() -> None:
    nested = step(11 * MS, [WOKEN_ELSEWHERE], id=2)
    events = perfetto_events(trace([step(12 * MS, [WOKEN_ELSEWHERE]), nested]))
    assert sum(each["name"].startswith("NET_RX") for each in events) == 1


def test_hostile_names_are_harmless() -> None:
    made = step(12 * MS, [WOKEN_ELSEWHERE], comm="a\x1b[31m\n", name="\x07\u202e")
    text = perfetto_json(trace([made])).decode()
    assert "\x1b" not in text
    assert "\\u001b" not in text
