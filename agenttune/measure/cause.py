# SPDX-License-Identifier: GPL-2.0-only
"""Cause: what kind of thing delayed a step."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    RUN_QUEUE = "run queue"  # woken, but a task held the CPU
    PREEMPTED = "preempted"  # a task took the CPU
    THROTTLED = "throttled"  # its cgroup had used up cpu.max
    SOFTIRQ = "softirq"  # in interrupted context: it stole or held the CPU
    KSOFTIRQD = "ksoftirqd"  # deferred to ksoftirqd
    HARDIRQ = "hardirq"
    DISK = "disk"
    FAULT = "page fault"
    PEER = "peer"  # the other side of a socket
    CHILD = "child"
    FUTEX = "futex"
    PIPE = "pipe"
    TIMER = "timer"  # it slept, or its timeout ended the wait
    TASK = "task"  # another task; what kind of wait is not known
    COMPUTE = "compute"  # on the CPU, in user code or system calls
    IRQ_THREAD = "irq thread"  # a threaded interrupt handler or threaded NAPI
    IPI = "ipi"  # reaching the CPU, or getting it out of idle
    MIGRATION = "migration"  # runnable on one CPU until it was moved to another
    URING = "io_uring"
    EVENT_LOOP = "event loop"  # its completion was there; the thread was busy with other steps
    UNKNOWN = "unknown"
