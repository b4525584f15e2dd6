# SPDX-License-Identifier: GPL-2.0-only
"""Legs: a wait as consecutive stretches of time, each in one bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agenttune.measure.trace import Bucket, Chain, Wait

# The buckets of a leg in which the thread could have run but did not.
RUNNABLE = frozenset({Bucket.RUN_QUEUE, Bucket.PREEMPTED, Bucket.THROTTLED})


@dataclass(frozen=True, slots=True)
class Leg:
    """[begin_ns, end_ns) of a wait, charged to `bucket`."""

    bucket: Bucket
    begin_ns: int
    end_ns: int

    @property
    def ns(self) -> int:
        return self.end_ns - self.begin_ns


def wait_legs(wait: Wait) -> tuple[Leg, ...]:
    """The legs in time order, none of them empty; they cover the wait exactly.

    The same split as at_charge_wait() in bpf/thread.h.
    """
    return tuple(leg for leg in _legs(wait) if leg.ns > 0)


def chain_legs(chain: Chain | None, begin_ns: int, end_ns: int) -> Iterator[Leg]:
    """Blocked time up to the waking, as at_split_blocked() in bpf/wait.h does; some may be empty.

    Each point of the chain begins a leg that lasts to the next point.
    """
    points = [(min(ns, end_ns), bucket) for ns, bucket in _points(chain)]
    points.sort(key=lambda point: point[0])
    ends = [*(ns for ns, _ in points), end_ns]
    yield Leg(Bucket.EXTERNAL, begin_ns, max(begin_ns, ends[0]))
    for (start_ns, bucket), next_ns in zip(points, ends[1:], strict=True):
        yield Leg(bucket, max(begin_ns, start_ns), max(begin_ns, next_ns))


def runnable_since(wait: Wait) -> int:
    """When the thread could have run again: ns on CLOCK_MONOTONIC."""
    return wait.wakeup_ns or wait.waking_ns or wait.out_ns


def _legs(wait: Wait) -> Iterator[Leg]:
    if not wait.blocked:
        bucket = Bucket.THROTTLED if wait.throttled else Bucket.PREEMPTED
        yield Leg(bucket, wait.out_ns, wait.in_ns)
    elif wait.waking_ns is None:
        yield Leg(Bucket.UNSEEN, wait.out_ns, wait.in_ns)
    else:
        yield from chain_legs(wait.chain, wait.out_ns, wait.waking_ns)
        queued_ns = runnable_since(wait)
        yield Leg(Bucket.WAKE_IPI, wait.waking_ns, queued_ns)
        bucket = Bucket.THROTTLED if wait.throttled else Bucket.RUN_QUEUE
        yield Leg(bucket, queued_ns, wait.in_ns)


def _points(chain: Chain | None) -> Iterator[tuple[int, Bucket]]:
    if chain is None:
        return
    for ns, bucket in (
        (chain.irq_ns, Bucket.CHAIN_HARDIRQ),
        (chain.raise_ns, Bucket.CHAIN_PENDING),
        (chain.entry_ns, Bucket.CHAIN_SOFTIRQ),
        (chain.thread_ns, Bucket.CHAIN_THREAD),
    ):
        if ns is not None:
            yield ns, bucket
