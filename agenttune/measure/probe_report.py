# SPDX-License-Identifier: GPL-2.0-only
"""ProbeReport: what one interval of `agenttune probe` saw, in the words of the inventory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agenttune.host.host import Host
from agenttune.measure import layout
from agenttune.measure.figures import device_name
from agenttune.measure.histogram import Histogram, merge
from agenttune.measure.measurement import Coverage, Distribution
from agenttune.measure.probe_engine import Sampled
from agenttune.measure.probe_layout import Sample
from agenttune.measure.readout import BACKLOG
from agenttune.measure.syscall_names import syscall_name

# AT_ARCH_ID in bpf/layout.h: interrupts without a number.
_ARCH_ID = 0xFFFF0000

_METRICS = {
    Sample.HANDLER: "handler-time",
    Sample.HANDLER_IDLE: "handler-time-not-its-interrupt",
    Sample.ARCH: "handler-time",
    Sample.SOFTIRQ_TIME: "softirq-time",
    Sample.SOFTIRQ_LATENCY: "softirq-latency",
    Sample.POLL: "napi-poll-time",
    Sample.WAKEUP: "wakeup-latency",
    Sample.SYSCALL: "syscall-time",
    Sample.READ: "read-latency",
    Sample.WRITE: "write-latency",
    Sample.FAULT_MINOR: "minor-fault-time",
    Sample.FAULT_MAJOR: "major-fault-time",
    Sample.FAULT_WAIT: "fault-wait",
    Sample.RUN_NEAR: "irq-to-run-near",
    Sample.RUN_EXACT: "irq-to-run-exact",
    Sample.FAULTS: "page faults in user mode",
    Sample.POLL_ELSEWHERE: "NAPI polls outside NET_RX (threaded or busy): not timed",
    Sample.LARGE: "requests above the size limit: not timed",
    Sample.FAILED: "failed requests: not timed",
    Sample.REQUEUED: "requeued requests: timed from their last issue",
    Sample.RUN_EARLY: "runs before the waking interrupt's handler returned: not timed",
    Sample.RUN_NO_IRQ: "runs that no interrupt began: only in near",
}


@dataclass(frozen=True, slots=True)
class ProbeCount:
    """How often something happened that has no time, or that was left out of the times."""

    what: str
    subject: str
    count: int


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """One interval. `interval` counts from 1; `window_ns` is its length on CLOCK_MONOTONIC.

    A distribution's metric is named after the probe: 'handler-time' (subject 'irq 45 device/entry/
    action', or 'LOC'), 'softirq-time' and 'softirq-latency' (vector), 'napi-poll-time' (device),
    'wakeup-latency' (agent's comm), 'syscall-time' (name), 'read-latency' and 'write-latency'
    (disk), 'minor-fault-time', 'major-fault-time' and 'fault-wait' (comm), 'irq-to-run-near' (comm)
    and 'irq-to-run-exact' (comm and interrupt). `max_bytes` is None except for block.
    """

    probe: str
    interval: int
    window_ns: int
    boot_id: str | None
    kernel: str
    engine: str
    selectors: tuple[str, ...]
    max_bytes: int | None
    distributions: tuple[Distribution, ...]
    counts: tuple[ProbeCount, ...]
    notes: tuple[str, ...]
    coverage: Coverage


def distributions(samples: Iterable[Sampled], host: Host | None) -> tuple[Distribution, ...]:
    """Every key's times over all CPUs, with the host's names for interrupts."""
    timed = (each for each in samples if not each.sample.only_counts)
    return tuple(
        Distribution(metric, subject, "ns", histogram)
        for (metric, subject), histogram in _named(timed, _vectors(host)).items()
    )


def counts(samples: Iterable[Sampled]) -> tuple[ProbeCount, ...]:
    """Every key that only counts."""
    counted = (each for each in samples if each.sample.only_counts)
    return tuple(
        ProbeCount(what, subject, histogram.count)
        for (what, subject), histogram in _named(counted, {}).items()
    )


def _named(
    samples: Iterable[Sampled], vectors: Mapping[int, str]
) -> dict[tuple[str, str], Histogram]:
    """By metric and subject, in the order of the keys: several keys may have one name."""
    netns = Path("/proc/self/ns/net").stat().st_ino
    groups: dict[tuple[str, str], list[Histogram]] = {}
    for each in sorted(samples, key=lambda each: (each.sample, each.number, each.name)):
        name = (_METRICS[each.sample], _subject(each, vectors, netns))
        groups.setdefault(name, []).append(each.histogram)
    return {name: merge(histograms) for name, histograms in groups.items()}


def _vectors(host: Host | None) -> dict[int, str]:
    return {vector.irq: str(vector.key) for vector in host.vectors} if host else {}


def _subject(each: Sampled, vectors: Mapping[int, str], netns: int) -> str:
    match each.sample:
        case Sample.HANDLER | Sample.HANDLER_IDLE:
            return _irq(each.number, vectors, each.name)
        case Sample.ARCH:
            return layout.ARCH_NAMES[each.number]
        case Sample.SOFTIRQ_TIME | Sample.SOFTIRQ_LATENCY:
            return layout.SOFTIRQ_NAMES[each.number]
        case Sample.POLL | Sample.POLL_ELSEWHERE:
            return device_name(each.name or BACKLOG, each.scope, netns)
        case Sample.SYSCALL:
            return syscall_name(each.number, compat=bool(each.scope))
        case Sample.RUN_EXACT:
            shared = " (or another that raised the same softirq)" if each.scope else ""
            return f"{each.name} by {_irq(each.number, vectors)}{shared}"
        case _:
            return each.name


def _irq(number: int, vectors: Mapping[int, str], action: str = "") -> str:
    """A shared line has several actions, each with its own times."""
    if number >= _ARCH_ID:
        return layout.ARCH_NAMES[number - _ARCH_ID]
    key = vectors.get(number)
    if key and (not action or key.endswith(f"/{action}")):
        return f"irq {number} {key}"
    return " ".join(filter(None, (f"irq {number}", key, action)))
