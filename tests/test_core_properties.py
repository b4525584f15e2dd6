# SPDX-License-Identifier: GPL-2.0-only
"""The pure core against a model of whole machines, then with events missing, doubled and skewed."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from core_model import (
    BY_IRQ,
    BY_TASK,
    BY_THREAD,
    LEGS,
    UNSEEN,
    Cause,
    Expected,
    Wait,
)
from core_world import EVENT, World

ROOT = Path(__file__).parent.parent
WAITS = 8
# (seed, CPUs, threads, PREEMPT_RT, shortest wait kept in ns); 100,000 turns each.
WORLDS = (
    (1, 4, 12, False, 0),
    (2, 2, 6, False, 0),
    (3, 1, 3, False, 0),
    (4, 8, 40, False, 0),
    (5, 4, 8, True, 0),
    (6, 2, 4, True, 0),
    (7, 3, 20, False, 50_000),
    (8, 8, 8, True, 0),
)
TURNS = 160_000


@dataclass(frozen=True, slots=True)
class Told:
    """One step's record as the core gave it, with its waits' words."""

    step: tuple[int, ...]
    waits: list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Replayed:
    steps: list[Told]
    threads: list[tuple[int, ...]]
    run: tuple[int, ...]


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_replayer(tmp_path_factory.mktemp("core"))


def build_replayer(folder: Path) -> Path:
    """With sanitizers: an overflow of a shift or an index ends the run."""
    target = folder / "core_replay"
    command = ["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    command += ["-I", str(ROOT / "bpf"), str(ROOT / "tests/core_replay.c"), "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def replay(replayer: Path, events: Sequence[bytes], floor: int = 0) -> Replayed:
    done = subprocess.run(
        [str(replayer), str(floor)], input=b"".join(events), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    told = Replayed([], [], ())
    run: tuple[int, ...] = ()
    for line in done.stdout.decode().splitlines():
        kind, *words = line.split()
        numbers = tuple(map(int, words))
        match kind:
            case "step":
                told.steps.append(Told(numbers, []))
            case "wait":
                told.steps[-1].waits.append(numbers)
            case "thread":
                told.threads.append(numbers)
            case _:
                run = numbers
    return Replayed(told.steps, told.threads, run)


def cause_words(cause: Cause) -> tuple[int, ...]:
    times = {leg: when for when, leg in cause.legs}
    return (*(times.get(leg, 0) for leg in LEGS), cause.flags)


def check_cause(words: Sequence[int], cause: Cause) -> None:
    assert (*words[:4], words[8]) == cause_words(cause)
    irq, origin, conduit, irq_cpu = words[4:8]
    if cause.flags & BY_IRQ:
        assert (irq, irq_cpu) == (cause.irq, cause.irq_cpu)
    if cause.flags & BY_TASK:
        assert origin == cause.origin
    if cause.flags & BY_THREAD:
        assert conduit == cause.conduit


def check_wait(words: Sequence[int], wait: Wait) -> None:
    times = (wait.out, wait.waking, wait.wakeup, wait.back)
    assert tuple(words[:4]) == times
    assert tuple(words[4:8]) == (wait.out_cpu, wait.queue_cpu, wait.in_cpu, wait.flags)
    assert tuple(words[8:10]) == (wait.hard_ns, wait.soft_ns)
    if wait.woken:
        chain = wait.woken.chain
        assert tuple(words[10:12]) == (wait.woken.waker, wait.woken.cpu)
        check_cause(words[12:21], chain.cause)
        assert tuple(words[21:24]) == (chain.vector, chain.cpu, chain.done.kind)
        if chain.done.kind:
            assert tuple(words[24:26]) == (chain.done.when, chain.done.subject)
    tid, held_ns, seen_ns, idle_ns = wait.holder
    assert (words[26], *words[28:31]) == (tid, held_ns, seen_ns, idle_ns)
    assert words[27] == wait.queue_cpu
    soft, hard = wait.thieves
    if soft:
        assert tuple(words[31:33]) == soft
    if hard:
        assert words[33] == hard


def check_kept(told: Told, expected: Expected) -> None:
    """Alone on its thread, a step keeps its longest waits; in another step, at least half."""
    by_out = {wait.out: wait for wait in expected.waits}
    for words in told.waits:
        check_wait(words, by_out[words[0]])
    kept = sorted((words[3] - words[0] for words in told.waits), reverse=True)
    longest = sorted((wait.back - wait.out for wait in expected.waits), reverse=True)
    if not expected.step.overlapped:
        assert kept == longest[:WAITS]
    elif expected.step.innermost:
        assert kept[: WAITS // 2] == longest[: WAITS // 2]


def check_step(told: Told, expected: Expected) -> None:
    step = expected.step
    head = (step.id, step.begin, expected.end, expected.tid, step.kind, expected.flags)
    assert told.step[:6] == head
    assert told.step[6:11] == expected.counts
    assert list(told.step[11:27]) == expected.buckets
    if step.ready:
        assert told.step[27:29] == step.ready[:2]
    check_kept(told, expected)


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[World]]:
    found = []
    for seed, cpus, threads, rt, floor in WORLDS:
        world = World(seed, cpus, threads, rt, floor)
        for _ in range(TURNS):
            world.turn()
        found.append(world)
    yield found


def test_every_nanosecond_chain_and_holder_is_the_models(
    replayer: Path, worlds: list[World]
) -> None:
    """Seeds are in WORLDS; every record of every step, and each thread's whole time."""
    events = steps = waits = 0
    for world in worlds:
        told = replay(replayer, world.events, world.floor)
        assert len(told.steps) == len(world.expected)
        for each, expected in zip(told.steps, world.expected, strict=True):
            check_step(each, expected)
        for _, wall_ns, *totals in told.threads:
            assert wall_ns == sum(totals)
        assert told.run == (len(world.events), 0, 0, world.refused)
        events += len(world.events)
        steps += len(told.steps)
        waits += sum(len(each.waits) for each in told.steps)
    print(f"{events} events, {steps} steps, {waits} waits")
    assert events >= 1_000_000
    assert steps >= 10_000


def spoil(events: list[bytes], seed: int) -> list[bytes]:
    """1 % missing, 1 % twice, clocks up to 3 us apart, small steps back, some out of order."""
    chance = random.Random(seed)
    skew = [chance.randrange(-3_000, 3_001) for _ in range(8)]
    spoiled: list[bytes] = []
    for event in events:
        what = chance.random()
        if what < 0.01:
            continue
        now, one, other, kind, cpu, tid, number = EVENT.unpack(event)
        now += skew[cpu] - (chance.randrange(200) if what > 0.9 else 0)
        changed = EVENT.pack(now, one, other, kind, cpu, tid, number)
        spoiled += [changed, changed] if what < 0.02 else [changed]
        if what > 0.98 and len(spoiled) > 1:
            spoiled[-2:] = spoiled[-1], spoiled[-2]
    return spoiled


def test_missing_doubled_and_skewed_events_keep_every_sum(
    replayer: Path, worlds: list[World]
) -> None:
    """The replayer ends at the first bucket that shrinks or record that does not sum."""
    events = steps = unseen = whole = 0
    for (seed, *_), world in zip(WORLDS, worlds, strict=True):
        told = replay(replayer, spoil(world.events, seed), world.floor)
        events += told.run[0]
        steps += len(told.steps)
        for _, wall_ns, *totals in told.threads:
            assert wall_ns == sum(totals)
            unseen += totals[UNSEEN]
            whole += wall_ns
        assert told.run[1] > 0
    print(f"{events} events, {steps} steps, {100 * unseen / whole:.1f} % unseen")
    assert events >= 1_000_000
    assert 0 < unseen < whole / 2
