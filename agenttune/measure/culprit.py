# SPDX-License-Identifier: GPL-2.0-only
"""Culprit: what delayed a step most, from a disjoint split of all its time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agenttune.measure.blame import Blame, blame_chain, blame_leg, blame_rest
from agenttune.measure.cause import Cause
from agenttune.measure.legs import Leg, chain_legs, wait_legs
from agenttune.measure.trace import Bucket, Step, Trace, Wait

__all__ = ["Cause", "Culprit", "contributors", "culprit"]


@dataclass(frozen=True, slots=True)
class Culprit:
    """One contributor to a step: `ns` of it, over `waits` waits, most of it in `bucket`.

    Who it was is None where not known, or not the same in all of them. `wait` is the longest of
    the waits, None for what happened on the CPU or in waits that were not kept. `subject` is a
    completion's: a disk or a socket.
    """

    cause: Cause
    ns: int
    bucket: Bucket
    comm: str | None = None
    tid: int | None = None
    irq: int | None = None
    softirq: str | None = None
    cpu: int | None = None
    wait: Wait | None = None
    arch: str | None = None
    subject: int | None = None
    waits: int = 0


@dataclass(frozen=True, slots=True)
class _Share:
    ns: int
    bucket: Bucket
    blame: Blame
    wait: Wait | None = None


def culprit(step: Step, trace: Trace) -> Culprit:
    """The largest contributor; UNKNOWN with 0 ns for a step that took no time."""
    found = contributors(step, trace)
    return found[0] if found else Culprit(Cause.UNKNOWN, 0, Bucket.UNSEEN)


def contributors(step: Step, trace: Trace) -> tuple[Culprit, ...]:
    """All of the step, largest first, each nanosecond once: they sum to its duration.

    (To its buckets, should those hold more than the step lasted; its residual tells.) What waits
    that were not kept leave of a bucket is a contributor of that bucket without a name.
    """
    groups: dict[tuple[object, ...], list[_Share]] = defaultdict(list)
    for share in _shares(step, trace):
        groups[_identity(share)].append(share)
    found = [_group(shares) for shares in groups.values()]
    return tuple(sorted(found, key=lambda each: (-each.ns, each.cause, each.comm or "")))


def _shares(step: Step, trace: Trace) -> Iterator[_Share]:
    left = {bucket: max(0, ns) for bucket, ns in zip(Bucket, step.buckets_ns, strict=True)}
    named = _ready_shares(step, trace) if split_by_ready(step) else _wait_shares(step, trace)
    for share in named:
        ns = min(share.ns, left[share.bucket])
        left[share.bucket] -= ns
        if ns:
            yield _Share(ns, share.bucket, share.blame, share.wait)
    for bucket, ns in left.items():
        if ns:
            yield _Share(ns, bucket, blame_rest(bucket, step))
    if step.residual_ns > 0:
        yield _Share(step.residual_ns, Bucket.UNSEEN, Blame(Cause.UNKNOWN))


def split_by_ready(step: Step) -> bool:
    """Its bound socket's completion tells its time apart, not its thread's waits.

    bpf/step.h, at_step_end().
    """
    return step.interleaved and step.ready is not None


def _wait_shares(step: Step, trace: Trace) -> Iterator[_Share]:
    for wait in sorted(step.waits, key=lambda each: each.out_ns - each.in_ns):
        for leg in wait_legs(wait):
            ns = _within(leg, step)
            if ns > 0:
                yield _Share(ns, leg.bucket, blame_leg(leg, wait, trace), wait)
    for wait in step.waits:
        if wait.like_ns and wait.waking_ns:
            leg = Leg(Bucket.EXTERNAL, wait.out_ns, wait.waking_ns)
            yield _Share(wait.like_ns, leg.bucket, blame_leg(leg, wait, trace), wait)


def _ready_shares(step: Step, trace: Trace) -> Iterator[_Share]:
    if step.ready is None:
        return
    chain = step.ready.chain
    for leg in chain_legs(chain, step.begin_ns, step.ready.ready_ns):
        yield _Share(_within(leg, step), leg.bucket, blame_chain(leg.bucket, chain, trace))


def _within(leg: Leg, step: Step) -> int:
    return max(0, min(leg.end_ns, step.end_ns) - max(leg.begin_ns, step.begin_ns))


def _identity(share: _Share) -> tuple[object, ...]:
    """Who it was. Tasks are told apart by comm: a competitor may be many short-lived ones."""
    blame = share.blame
    who = blame.comm if blame.comm is not None else blame.tid
    named = (who, blame.irq, blame.arch, blame.softirq, blame.subject)
    if any(each is not None for each in named) or blame.cause is Cause.COMPUTE:
        return (blame.cause, *named)
    # Without a name, only the place tells one from another.
    return (blame.cause, share.bucket, share.wait is None)


def _group(shares: list[_Share]) -> Culprit:
    longest = max(shares, key=lambda share: share.ns)
    by_bucket: dict[Bucket, int] = defaultdict(int)
    for share in shares:
        by_bucket[share.bucket] += share.ns
    blame = longest.blame
    return Culprit(
        cause=blame.cause,
        ns=sum(by_bucket.values()),
        bucket=max(by_bucket, key=lambda bucket: by_bucket[bucket]),
        comm=blame.comm,
        tid=_same(share.blame.tid for share in shares),
        irq=blame.irq,
        softirq=blame.softirq,
        cpu=_same(share.blame.cpu for share in shares),
        wait=longest.wait,
        arch=blame.arch,
        subject=blame.subject,
        waits=_waits(shares),
    )


def _waits(shares: list[_Share]) -> int:
    """The kept ones, with those like them where they were waited out."""
    kept = {id(share.wait): share for share in shares if share.wait}
    external = [s for s in shares if s.wait and s.bucket is Bucket.EXTERNAL]
    like = {id(share.wait): share.wait.like_waits for share in external if share.wait}
    return len(kept) + sum(like.values())


def _same(values: Iterable[int | None]) -> int | None:
    """The one value they all have, or None."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
