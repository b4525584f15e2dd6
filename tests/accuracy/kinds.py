# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of injection: what each must be called, and how large it is made."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.measure.cause import Cause

MS = 1_000_000
QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class Kind:
    """`cause` and the culprit's fields that are known beforehand; comm and tid come by turn.

    `with_wakeup`: its truth is all time off the CPU, so what the completion took to arrive counts.
    Sizes in ns are drawn evenly on a logarithmic scale; the injector may round them.
    """

    name: str
    what: str
    cause: Cause
    least_ns: int = MS // 2
    most_ns: int = 20 * MS
    softirq: str | None = None
    arch: str | None = None
    with_wakeup: bool = False


KINDS = (
    Kind("hog", "SCHED_FIFO task holds the CPU at a wakeup", Cause.RUN_QUEUE),
    Kind("rival", "ordinary competing task", Cause.PREEMPTED),
    Kind("preempt", "SCHED_FIFO task preempts a computation", Cause.PREEMPTED),
    Kind("throttle", "cgroup CPU quota used up", Cause.THROTTLED, 6 * MS, 30 * MS),
    Kind("softirq", "datagrams steered to the CPU", Cause.SOFTIRQ, softirq="NET_RX"),
    Kind("ksoftirqd", "softirq left to ksoftirqd", Cause.KSOFTIRQD),
    Kind("hardirq", "timers that expire at once", Cause.HARDIRQ, MS // 2, 3 * MS, arch="LOC"),
    Kind("disk", "direct reads", Cause.DISK, with_wakeup=True),
    Kind("fault", "cold pages of a mapped file", Cause.FAULT, with_wakeup=True),
    Kind("userfault", "userfaultfd handler", Cause.FAULT),
    Kind("peer", "socket peer that sleeps first", Cause.PEER),
    Kind("child", "child process", Cause.CHILD),
    Kind("futex", "lock holder", Cause.FUTEX),
    Kind("timer", "sleep", Cause.TIMER),
    Kind("parse", "long parse", Cause.COMPUTE),
    Kind("migrate", "moved to another CPU while it waited", Cause.MIGRATION),
    Kind("pipe", "pipe partner", Cause.PIPE),
)
NAMES = tuple(kind.name for kind in KINDS)


def kind_of(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)
