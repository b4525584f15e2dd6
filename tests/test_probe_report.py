# SPDX-License-Identifier: GPL-2.0-only
"""The names of what a probe sampled, and its text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Coverage, Distribution, Missing
from agenttune.measure.probe_engine import Sampled
from agenttune.measure.probe_layout import Sample
from agenttune.measure.probe_report import ProbeCount, ProbeReport, counts, distributions
from agenttune.report.probe import probe_text

ARCH_ID = 0xFFFF0000


def sampled(sample: Sample, number: int = 0, scope: int = 0, name: str = "") -> Sampled:
    return Sampled(sample, number, scope, name, Histogram.of([1000]))


def test_subjects_are_in_the_hosts_words() -> None:
    samples = (
        sampled(Sample.HANDLER, 45, name="eth0-rx"),
        sampled(Sample.ARCH, 3),
        sampled(Sample.SOFTIRQ_TIME, 3),
        sampled(Sample.POLL),
        sampled(Sample.SYSCALL, 0),
        sampled(Sample.SYSCALL, 3, scope=1),
        sampled(Sample.SYSCALL, 99999),
        sampled(Sample.RUN_EXACT, 45, name="agent"),
        sampled(Sample.RUN_EXACT, 45, scope=1, name="agent"),
        sampled(Sample.RUN_EXACT, ARCH_ID, name="agent"),
    )
    assert {(each.metric, each.subject) for each in distributions(samples, None)} == {
        ("handler-time", "irq 45 eth0-rx"),
        ("handler-time", "CAL"),
        ("softirq-time", "NET_RX"),
        ("napi-poll-time", "backlog"),
        ("syscall-time", "read"),
        ("syscall-time", "read (32-bit)"),
        ("syscall-time", "syscall 99999"),
        ("irq-to-run-exact", "agent by irq 45"),
        ("irq-to-run-exact", "agent by irq 45 (or another that raised the same softirq)"),
        ("irq-to-run-exact", "agent by LOC"),
    }


def test_cpus_of_one_key_are_one_distribution() -> None:
    twice = (sampled(Sample.WAKEUP, name="agent"), sampled(Sample.WAKEUP, name="agent"))
    (found,) = distributions(twice, None)
    assert found.histogram == Histogram.of([1000, 1000])


def test_keys_of_one_name_are_one_distribution() -> None:
    """Function calls have two vectors and one row in /proc/interrupts."""
    (found,) = distributions((sampled(Sample.ARCH, 2), sampled(Sample.ARCH, 3)), None)
    assert (found.subject, found.histogram.count) == ("CAL", 2)


def test_devices_of_other_namespaces_are_told_apart() -> None:
    here = Path("/proc/self/ns/net").stat().st_ino
    samples = [sampled(Sample.POLL, scope=scope, name="eth0") for scope in (here, 7)]
    assert [each.subject for each in distributions(samples, None)] == ["eth0", "eth0@7"]


def test_what_only_counts_is_no_distribution() -> None:
    samples = (sampled(Sample.FAULTS, name="agent"), sampled(Sample.LARGE, 1, name="vda"))
    assert distributions(samples, None) == ()
    assert [(each.subject, each.count) for each in counts(samples)] == [("agent", 1), ("vda", 1)]


def report(*found: Distribution) -> ProbeReport:
    return ProbeReport(
        probe="wakeup",
        interval=2,
        window_ns=10_000_000_000,
        boot_id=None,
        kernel="6.12.0",
        engine="libbpf",
        selectors=("comm:agent",),
        max_bytes=None,
        distributions=found,
        counts=(ProbeCount("page faults", "agent", 7),),
        notes=("A note.",),
        coverage=Coverage(1, 2, 3, (Missing("napi_poll", "it is gone", "no polls"),)),
    )


def test_the_text_has_quantiles_bars_and_what_is_missing() -> None:
    histogram = Histogram.of([1500] * 30 + [3000] * 10 + [9000])
    text = probe_text(report(Distribution("wakeup-latency", "agent", "ns", histogram)))
    assert text.startswith("probe wakeup, interval 2: 10.0 s on Linux 6.12.0")
    rows = [line.split() for line in text.splitlines()]
    assert ["wakeup-latency", "agent", "41", "1.50", "us", "few", "few", "few", "9.00", "us"] in [
        row for row in rows if row
    ]
    assert ["from", "1.02", "us", "30", "#" * 40] in rows
    assert ["from", "2.05", "us", "10", "#" * 14] in rows
    assert ["from", "4.10", "us", "0"] in rows
    assert ["from", "8.19", "us", "1", "##"] in rows
    assert "page faults  agent        7" in text
    assert "note: A note.\n" in text
    assert "2 lost, 1 recursion misses, 3 unpaired" in text
    assert "missing napi_poll: it is gone; no polls" in text


def test_nothing_is_said_to_be_nothing() -> None:
    empty = report()
    assert "nothing was sampled" not in probe_text(empty)
    assert "nothing was sampled" in probe_text(replace(empty, counts=()))
