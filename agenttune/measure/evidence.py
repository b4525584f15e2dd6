# SPDX-License-Identifier: GPL-2.0-only
"""Evidence: what the kept waits of a trace tell about the cause of a stage's tail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from agenttune.measure.legs import runnable_since
from agenttune.measure.trace import Chain, CompletionKind, Trace, Wait


def evidence(trace: Trace) -> dict[str, str]:
    """A sentence by the name of the leg that it explains; none where the waits tell nothing."""
    waits = [wait for step in trace.steps for wait in step.waits]
    chains = [(wait, wait.chain) for wait in waits if wait.chain]
    told = {
        "handler": _thieves(trace),
        "softirq": _softirqs(chains),
        "completion": _completions(chain for _, chain in chains),
        "wakeup to run": _wakeups(waits),
    }
    return {leg: text for leg, text in told.items() if text}


def block_bound_ns(trace: Trace) -> int | None:
    """The shortest kept block request, issue to completion: no stage inside it took longer."""
    times = [
        wait.chain.latency_ns
        for step in trace.steps
        for wait in step.waits
        if wait.chain and wait.chain.completion is CompletionKind.BLOCK and wait.chain.latency_ns
    ]
    return min(times, default=None)


def _thieves(trace: Trace) -> str:
    """Which device's handler took most of the steps' time most often."""
    counts: dict[int, int] = defaultdict(int)
    for step in trace.steps:
        if step.stolen_hardirq and step.stolen_hardirq.irq is not None:
            counts[step.stolen_hardirq.irq] += 1
    if not counts:
        return ""
    irq, count = max(counts.items(), key=lambda item: (item[1], -item[0]))
    action = next((name.action for name in trace.vectors if name.irq == irq), "")
    return f"vector {irq}{f' ({action})' if action else ''} took most in {count} steps"


def _softirqs(chains: Iterable[tuple[Wait, Chain]]) -> str:
    through = [(wait, chain) for wait, chain in chains if chain.softirq]
    deferred = sum(chain.ksoftirqd for _, chain in through)
    elsewhere = sum(chain.cpu != wait.in_cpu for wait, chain in through)
    parts = [
        *([f"{deferred} ran in ksoftirqd"] if deferred else []),
        *([f"{elsewhere} on another CPU than the thread"] if elsewhere else []),
    ]
    return f"of {len(through)} softirqs that ended kept waits, {', '.join(parts)}" if parts else ""


def _completions(chains: Iterable[Chain]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for chain in chains:
        if chain.completion is not CompletionKind.NONE:
            counts[chain.completion] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "kept waits by completion: " + _counted(ranked) if ranked else ""


def _counted(ranked: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in ranked)


def _wakeups(waits: Iterable[Wait]) -> str:
    woken = [wait for wait in waits if wait.blocked and wait.waking_ns is not None]
    parts = list(_held(woken))
    migrated = sum(wait.migrated for wait in woken)
    throttled = sum(wait.throttled for wait in woken)
    if migrated:
        parts.append(f"{migrated} of {len(woken)} kept waits ran on another CPU than they queued")
    if throttled:
        parts.append(f"{throttled} of {len(woken)} in a throttled cgroup")
    return "; ".join(parts)


def _held(woken: Iterable[Wait]) -> Iterator[str]:
    """Who had the CPU for most of the time that these threads could have run."""
    held: dict[str, int] = defaultdict(int)
    whole_ns = 0
    for wait in woken:
        whole_ns += wait.in_ns - runnable_since(wait)
        if wait.holder.comm:
            held[wait.holder.comm] += wait.holder.held_ns
    if held and whole_ns:
        comm, ns = max(held.items(), key=lambda item: (item[1], item[0]))
        yield f"{comm} held the CPU for {100 * ns / whole_ns:.0f} % of the kept waits' queueing"
