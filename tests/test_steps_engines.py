# SPDX-License-Identifier: GPL-2.0-only
"""Both engines over the same steps in one window, compared step by step, bucket by bucket."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

import agenttune
from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import Bucket, Chain, Step, Trace, Wait

pytestmark = [pytest.mark.bpf, pytest.mark.usefixtures("bcc_here")]

STEPS = 8
STEP_S = 0.03
# Each engine's own programs run in what the other measures.
SLACK_NS, SLACK_PCT = 1_000_000, 5
WARM_UP, CROWD = "warm-up", "crowd"
CROWD_SIZE = 16


def sleep() -> None:
    time.sleep(STEP_S)


def spin() -> None:
    end = time.monotonic() + STEP_S
    while time.monotonic() < end:
        pass


def child() -> None:
    subprocess.run(["sleep", str(STEP_S)], check=True)


def futex() -> None:
    """Another thread lets it go on."""
    gate = threading.Event()
    threading.Timer(STEP_S, gate.set).start()
    gate.wait()


def peer() -> None:
    """A datagram from another thread, by a bound socket."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    agenttune.bind(receiver)
    with receiver, sender:
        address = receiver.getsockname()
        answer = threading.Timer(STEP_S, lambda: sender.sendto(b"x", address))
        answer.start()
        receiver.recv(8)
        answer.join()


def crowd() -> None:
    """Threads that begin with their step, and keep each other from the CPU and so from sleeping."""
    cpu = max(os.sched_getaffinity(0))

    def work() -> None:
        os.sched_setaffinity(0, {cpu})
        with agenttune.step(CROWD):
            time.sleep(0.005)

    threads = [threading.Thread(target=work) for _ in range(CROWD_SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


WORK: tuple[Callable[[], None], ...] = (sleep, spin, child, futex, peer)
NAMES = tuple(work.__name__ for work in WORK)


@dataclass(frozen=True)
class Pair:
    """One step as each engine saw it."""

    libbpf: Step
    bcc: Step


def own(trace: Trace) -> dict[int, Step]:
    """Others on this machine may mark steps too."""
    return {
        step.id: step for step in trace.steps if step.tgid == os.getpid() and step.name != WARM_UP
    }


@pytest.fixture(scope="module")
def traces(compiled_once: None) -> Iterator[tuple[Trace, Trace]]:
    with (
        StepsSession(engine="bcc", keep_all=True) as bcc,
        StepsSession(engine="libbpf", keep_all=True) as libbpf,
    ):
        # An emulated CPU takes milliseconds to translate a program that runs for the first time.
        with agenttune.step(WARM_UP):
            sleep()
        for work in WORK:
            for _ in range(STEPS):
                with agenttune.step(work.__name__, kind="tool"):
                    work()
                bcc.take()
                libbpf.take()
        crowd()
        libbpf.stop()
        bcc.stop()
        yield libbpf.read(), bcc.read()


@pytest.fixture(scope="module")
def pairs(traces: tuple[Trace, Trace]) -> dict[str, list[Pair]]:
    libbpf, bcc = map(own, traces)
    found: dict[str, list[Pair]] = {name: [] for name in (*NAMES, CROWD)}
    for number in libbpf.keys() & bcc.keys():
        found[libbpf[number].name].append(Pair(libbpf[number], bcc[number]))
    return found


def every(pairs: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for group in pairs.values() for pair in group]


def slack_ns(step: Step) -> float:
    return SLACK_NS + SLACK_PCT * step.duration_ns / 100


def longest(step: Step) -> Wait:
    return max(step.waits, key=lambda wait: wait.in_ns - wait.out_ns)


def test_both_see_every_step(pairs: dict[str, list[Pair]]) -> None:
    assert {name: len(group) for name, group in pairs.items()} == {
        **dict.fromkeys(NAMES, STEPS),
        CROWD: CROWD_SIZE,
    }


def test_what_a_step_says_of_itself_is_the_same(pairs: dict[str, list[Pair]]) -> None:
    for pair in every(pairs):
        for name in ("id", "tgid", "tid", "comm", "name", "kind", "deadline_ns", "budget_us"):
            assert getattr(pair.libbpf, name) == getattr(pair.bcc, name)


def differing(pair: Pair) -> list[tuple[str, Bucket, int, int]]:
    buckets = zip(Bucket, pair.libbpf.buckets_ns, pair.bcc.buckets_ns, strict=True)
    return [
        (pair.libbpf.name, bucket, ns, other)
        for bucket, ns, other in buckets
        if abs(ns - other) > slack_ns(pair.libbpf)
    ]


def test_buckets_agree(pairs: dict[str, list[Pair]]) -> None:
    for name in NAMES:
        for pair in pairs[name]:
            assert not differing(pair)


def waits_of(step: Step) -> tuple[object, ...]:
    """What of a step's waits does not depend on a clock; each of them, if all were kept."""
    kinds = [(wait.blocked, wait.waking_seen, wait.object_kind) for wait in step.waits]
    kept = tuple(kinds) if len(kinds) == step.nr_waits else ()
    return (step.nr_waits, step.preemptions, step.migrations, step.unattributed, *kept)


def test_new_threads_wait_alike(pairs: dict[str, list[Pair]]) -> None:
    """An emulated CPU may stand still between one engine's program and the other's: that takes
    time from one bucket of one step, and never a wait."""
    for pair in pairs[CROWD]:
        assert waits_of(pair.libbpf) == waits_of(pair.bcc)
    uneven = [found for pair in pairs[CROWD] if (found := differing(pair))]
    assert len(uneven) <= CROWD_SIZE // 8, uneven


def test_each_engines_buckets_make_up_the_step(pairs: dict[str, list[Pair]]) -> None:
    for pair in every(pairs):
        for step in (pair.libbpf, pair.bcc):
            assert abs(sum(step.buckets_ns) - step.duration_ns) <= 2000


def chain_of(wait: Wait) -> tuple[object, ...]:
    chain: Chain | None = wait.chain
    if chain is None:
        return (None,)
    return (chain.irq, chain.arch, chain.softirq, chain.completion, chain.subject, chain.origin)


@pytest.mark.parametrize("work", [work for work in WORK if work is not spin])
def test_the_long_wait_is_the_same(pairs: dict[str, list[Pair]], work: Callable[[], None]) -> None:
    """Who woke it, through what, and what it waited on."""
    for pair in pairs[work.__name__]:
        first, second = longest(pair.libbpf), longest(pair.bcc)
        for name in ("blocked", "waker", "waker_comm", "syscall", "object_kind", "object"):
            assert getattr(first, name) == getattr(second, name), name
        assert chain_of(first) == chain_of(second)
        assert first.in_ns - first.out_ns >= STEP_S * 0.8e9


def test_a_bound_socket_is_ready_for_both(pairs: dict[str, list[Pair]]) -> None:
    for pair in pairs["peer"]:
        assert pair.libbpf.ready and pair.bcc.ready
        assert pair.libbpf.ready.cookie == pair.bcc.ready.cookie
        assert pair.libbpf.ready.count == pair.bcc.ready.count >= 1


def test_neither_loses_anything(traces: tuple[Trace, Trace]) -> None:
    for trace in traces:
        assert trace.coverage.probes.lost == 0
        assert trace.coverage.probes.recursion_misses == 0
    libbpf, bcc = (trace.coverage.probes.missing for trace in traces)
    assert libbpf == bcc
