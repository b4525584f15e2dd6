# SPDX-License-Identifier: GPL-2.0-only
"""The agent: one tool call after another, each timed and marked as a step."""

from __future__ import annotations

import argparse
import select
import socket
import time
from pathlib import Path

from agenttune import step
from vm.scene.calls import CallLog
from vm.scene.processes import become, say_ready
from vm.scene.toolserver import PORT, REQUEST_BYTES, RESPONSE_BYTES

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 10.0


def run(server: str, log: CallLog, seconds: float) -> None:
    """Calls the tool until `seconds` are over or the log is full."""
    deadline_ns = time.monotonic_ns() + round(seconds * 1e9)
    with socket.create_connection((server, PORT), CONNECT_SECONDS) as tool, select.epoll() as poll:
        tool.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tool.setblocking(False)
        poll.register(tool, select.EPOLLIN)
        say_ready()
        while len(log) < log.capacity and time.monotonic_ns() < deadline_ns:
            started_ns = time.monotonic_ns()
            with step("call-tool", kind="tool"):
                tool.sendall(bytes(REQUEST_BYTES))
                _await_answer(tool, poll)
            log.append(started_ns, time.monotonic_ns() - started_ns)


def _await_answer(tool: socket.socket, poll: select.epoll) -> None:
    missing = RESPONSE_BYTES
    while missing:
        if not poll.poll(ANSWER_SECONDS):
            raise TimeoutError(f"no answer from the tool in {ANSWER_SECONDS:g} s")
        data = tool.recv(missing)
        if not data:
            raise ConnectionError("the tool closed the connection")
        missing -= len(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("log", type=Path)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    values = parser.parse_args()
    become("agent", values.cpu)
    run(values.server, CallLog(values.log), values.seconds)


if __name__ == "__main__":
    main()
