# SPDX-License-Identifier: GPL-2.0-only
"""BPF's counts against the kernel's own, over the same window, under load."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from measure_loads import loopback, read_disk, timers

from agenttune.host.counters import parse_rows
from agenttune.measure.measurement import Measurement
from agenttune.measure.readout import BACKLOG
from agenttune.measure.session import Session

pytestmark = pytest.mark.bpf

Counts = Mapping[tuple[str, int], int]

# The kernel counts an interrupt before its handler runs and BPF counts it afterwards, so at either
# snapshot one per row and CPU may be between the two.
IN_FLIGHT = 1

# A folder on a real disk; a guest without one mounts it and says where.
DISK_FOLDER = Path(os.environ.get("AGENTTUNE_TEST_DISK", "/var/tmp"))


def proc_counts(path: str) -> Counts:
    with Path(path).open("rb") as lines:
        return {
            (row.label, cpu): count
            for row in parse_rows(lines)
            for cpu, count in row.counts.items()
        }


def bpf_counts(found: Measurement) -> Counts:
    counts = {(str(load.irq), load.cpu): load.count for load in found.vectors}
    counts |= {(load.name, load.cpu): load.count for load in found.arch_interrupts}
    return counts | {(load.vector, load.cpu): load.count for load in found.softirqs}


@dataclass
class Snapshot:
    """BPF's counts, and the kernel's just before and just after them."""

    before: Counts
    bpf: Counts
    after: Counts


def snapshot(session: Session) -> Snapshot:
    def kernel() -> Counts:
        return {**proc_counts("/proc/interrupts"), **proc_counts("/proc/softirqs")}

    before = kernel()
    bpf = bpf_counts(session.read())
    return Snapshot(before, bpf, kernel())


def deltas(session: Session, load: Callable[[], None]) -> dict[tuple[str, int], tuple[int, ...]]:
    """By row and CPU: BPF's delta over the load, and the least and most it can rightly be."""
    first = snapshot(session)
    load()
    last = snapshot(session)
    covered = {"LOC", "RES", "CAL", "IWI"}
    softirqs = {row for row, _ in proc_counts("/proc/softirqs")}
    rows = {key for key in last.after if key[0].isdigit() or key[0] in covered | softirqs}
    return {
        key: (
            last.bpf.get(key, 0) - first.bpf.get(key, 0),
            last.before.get(key, 0) - first.after.get(key, 0) - IN_FLIGHT,
            last.after.get(key, 0) - first.before.get(key, 0) + IN_FLIGHT,
        )
        for key in rows
    }


@pytest.fixture
def session() -> Session:
    with Session() as opened:
        yield opened


def check(found: dict[tuple[str, int], tuple[int, ...]]) -> None:
    wrong = {
        key: counts for key, counts in found.items() if not counts[1] <= counts[0] <= counts[2]
    }
    assert not wrong, "row, CPU: BPF's delta, least, most"


def total(found: dict[tuple[str, int], tuple[int, ...]], row: str) -> int:
    return sum(counts[0] for (name, _), counts in found.items() if name == row)


def test_vectors_count_as_in_proc_interrupts_under_disk_load(session: Session) -> None:
    """DISK_FOLDER must be on a disk with interrupts: virtio-blk, NVMe, SCSI."""
    found = deltas(session, lambda: read_disk(DISK_FOLDER, 2000))
    check(found)
    assert sum(total(found, row) for row in {row for row, _ in found} if row.isdigit()) >= 1000


def test_softirqs_count_as_in_proc_softirqs_under_loopback_load(session: Session) -> None:
    found = deltas(session, lambda: loopback(20_000))
    check(found)
    assert total(found, "NET_RX") >= 20_000


def test_local_timers_count_as_in_proc_interrupts(session: Session) -> None:
    found = deltas(session, lambda: timers(300))
    check(found)
    assert total(found, "LOC") >= 300


def test_the_backlog_polls_each_datagram(session: Session) -> None:
    def polled() -> tuple[int, int]:
        loads = [load for load in session.read().napi if load.device == BACKLOG]
        return sum(load.polls for load in loads), sum(load.packets for load in loads)

    before = polled()
    loopback(5_000)
    after = polled()
    assert after[1] - before[1] >= 5_000
    assert 0 < after[0] - before[0] <= after[1] - before[1] + 100


def test_every_distribution_has_the_samples_of_its_loads(session: Session) -> None:
    loopback(2_000)
    timers(50)
    session.stop()
    found = session.read()
    counts = {(d.metric, d.subject): d.histogram.count for d in found.distributions}
    for name in {load.vector for load in found.softirqs}:
        loads = [load for load in found.softirqs if load.vector == name]
        assert counts["softirq-time", name] == sum(load.count for load in loads)
        times = next(
            d for d in found.distributions if (d.metric, d.subject) == ("softirq-time", name)
        )
        assert times.histogram.total == sum(load.time_ns for load in loads)
        # A latency lacks its sample only at an unpaired entry, and may have one entry more that
        # the window's end cut off from its exit.
        cpus = len(loads)
        latencies = counts.get(("softirq-latency", name), 0)
        assert counts["softirq-time", name] - found.coverage.unpaired <= latencies
        assert latencies <= counts["softirq-time", name] + cpus + found.coverage.unpaired
    polls = sum(load.polls for load in found.napi if load.device == BACKLOG)
    assert counts["napi-packets-per-poll", BACKLOG] == polls


def test_interrupts_take_no_more_time_than_there_is(session: Session) -> None:
    """Were nested time counted twice, a CPU under load would come out over its window."""
    loopback(20_000)
    session.stop()
    found = session.read()
    for cpu in {load.cpu for load in found.softirqs}:
        loads = (*found.vectors, *found.softirqs, *found.arch_interrupts)
        assert sum(load.time_ns for load in loads if load.cpu == cpu) <= found.window_ns


def test_nothing_counts_after_the_window(session: Session) -> None:
    loopback(100)
    session.stop()
    first = session.read()
    loopback(1_000)
    assert session.read() == first


def test_few_frames_are_unpaired_and_nothing_is_lost(session: Session) -> None:
    """The window's two edges cut at most a hardirq, a softirq and its raises on each CPU."""
    loopback(10_000)
    session.stop()
    coverage = session.read().coverage
    assert coverage.lost == 0
    assert coverage.recursion_misses == 0
    entries = sum(load.count for load in session.read().softirqs)
    assert coverage.unpaired <= 24 + entries // 1000
