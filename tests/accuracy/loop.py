# SPDX-License-Identifier: GPL-2.0-only
"""Loop: whether completions reach the right one of several steps on one thread."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agenttune.measure.trace import Step, Trace

HERE = Path(__file__).parent
COMM = "at-loop"
WORKERS = 8
LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Call:
    """One bound step: the client's socket, and when the server's send() for it ran; ns."""

    id: int
    cookie: int
    begin_ns: int
    end_ns: int
    before_ns: int
    after_ns: int


@dataclass(frozen=True, slots=True)
class LoopScore:
    calls: int
    right: int
    missing: int
    ambiguous: int
    interleaved: int


def run(steps: int, seed: int) -> list[Call]:
    """WORKERS steps in flight at once, `steps` by each; both ends' own account of each."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "client", Path(folder) / "server"
        server = subprocess.Popen(
            [sys.executable, HERE / "loop_server.py", answered],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            counts = [str(WORKERS), str(steps), str(seed)]
            command = [sys.executable, HERE / "loop_client.py", port, *counts, asked]
            subprocess.run(command, check=True, timeout=LIMIT_S)
        finally:
            server.communicate(timeout=LIMIT_S)
        return _join(asked.read_text(), answered.read_text())


def _join(asked: str, answered: str) -> list[Call]:
    sent = {}
    for line in answered.splitlines():
        identity, before, after = map(int, line.split())
        sent[identity] = (before, after)
    calls = []
    for line in asked.splitlines():
        identity, cookie, begin, end = map(int, line.split())
        calls.append(Call(identity, cookie, begin, end, *sent[identity]))
    return calls


def score(calls: list[Call], trace: Trace) -> LoopScore:
    """A call is right when its step's socket became readable within the server's send()."""
    steps = {step.id: step for step in trace.steps if step.comm == COMM}
    found = [steps[call.id] for call in calls if call.id in steps]
    return LoopScore(
        calls=len(calls),
        right=sum(call.id in steps and credited(call, steps[call.id]) for call in calls),
        missing=len(calls) - len(found),
        ambiguous=sum(step.ambiguous for step in found),
        interleaved=sum(step.interleaved for step in found),
    )


def credited(call: Call, step: Step) -> bool:
    if step.ready is None or step.ready.cookie != call.cookie:
        return False
    return call.before_ns <= step.ready.ready_ns <= call.after_ns
