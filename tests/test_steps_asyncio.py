# SPDX-License-Identifier: GPL-2.0-only
"""Eight steps in flight on one thread: each completion goes to the step whose socket it was for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mark_witness import BEGIN, record

from agenttune import step
from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import Step

pytestmark = pytest.mark.bpf
TREE = Path(__file__).parent.parent
STEPS = 8 * 100
WORTH = 0.99

# Answers are the moment they were sent, so that every step has a truth of its own. The peer is
# another process: the agent's thread does nothing but wait for its eight connections.
AGENT = f"""
import asyncio, json, os, socket, time
import agenttune

async def answer(reader, writer):
    number = 0
    while await reader.read(1):
        number += 1
        await asyncio.sleep((1 + number * 7 % 5) / 1000)
        writer.write(time.monotonic_ns().to_bytes(8, "little"))

async def peer():
    await (await asyncio.start_server(answer, sock=listener)).serve_forever()

async def calls(name, port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    own = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, 57, 8)
    for _ in range({STEPS // 8}):
        async with agenttune.step(name, kind="tool") as step:
            agenttune.bind(writer)
            writer.write(b"x")
            sent_ns = int.from_bytes(await reader.readexactly(8), "little")
        took.append((step.id, int.from_bytes(own, "little"), sent_ns, time.monotonic_ns()))

async def agent():
    port = listener.getsockname()[1]
    await asyncio.gather(*(calls(f"call {{i}}", port) for i in range(8)))

listener = socket.create_server(("127.0.0.1", 0))
took = []
if child := os.fork():
    try:
        input()
        asyncio.run(agent())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    print(json.dumps(took))
else:
    asyncio.run(peer())
"""


@dataclass(frozen=True)
class Truth:
    step_id: int
    cookie: int
    sent_ns: int
    received_ns: int


@pytest.fixture(scope="module")
def run() -> Iterator[tuple[dict[int, Truth], dict[int, Step]]]:
    """What the agent says of each step, beside what was traced of it."""
    with subprocess.Popen(
        [sys.executable, "-c", AGENT],
        env={**os.environ, "PYTHONPATH": str(TREE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin and program.stdout
        with StepsSession(keep_all=True) as session:
            program.stdin.write("\n")
            program.stdin.close()
            while program.poll() is None:
                time.sleep(0.05)
                session.take()
            session.stop()
            trace = session.read()
        truths = [Truth(*row) for row in json.loads(program.stdout.read())]
    assert program.returncode == 0
    yield (
        {truth.step_id: truth for truth in truths},
        {step.id: step for step in trace.steps if step.tgid == program.pid},
    )


def test_every_step_is_traced(run: tuple[dict[int, Truth], dict[int, Step]]) -> None:
    truths, traced = run
    assert len(truths) == STEPS
    assert set(traced) == set(truths)
    assert {step.name for step in traced.values()} == {f"call {number}" for number in range(8)}
    assert sum(step.overlapped for step in traced.values()) > 0.9 * STEPS


def test_completions_go_to_the_right_step(run: tuple[dict[int, Truth], dict[int, Step]]) -> None:
    truths, traced = run
    right = 0
    for number, truth in truths.items():
        ready = traced[number].ready
        if ready and not traced[number].ambiguous:
            in_time = truth.sent_ns <= ready.ready_ns <= truth.received_ns
            right += in_time and ready.cookie == truth.cookie
    assert right >= WORTH * STEPS


def test_a_task_has_a_lane_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def turn() -> None:
        with step("turn"), step("call within it"):
            await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(turn(), turn())

    marks = record(monkeypatch)
    asyncio.run(both())
    with step("outside any task", budget=0.5):
        pass
    begun = [mark for mark in marks if mark.op == BEGIN]
    first, within, second, within_second, outside = (mark.lane for mark in begun)
    assert first == within != 0
    assert second == within_second not in (0, first)
    assert outside == 0
    assert begun[-1].budget_us == 500_000
