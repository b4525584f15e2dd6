# SPDX-License-Identifier: GPL-2.0-only
"""The peer of the asyncio agent: answers each request after the time that it names.

Usage: loop_server.py OUT. Prints its port; ends when standard input does. A line of OUT is
'id before_ns after_ns', taken around the answer's send().
"""

from __future__ import annotations

import heapq
import select
import socket
import sys
import time
from pathlib import Path


def serve(listener: socket.socket, lines: list[str]) -> None:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(0, select.POLLIN)
    ends: dict[int, socket.socket] = {}
    due: list[tuple[int, int, int]] = []
    while True:
        wait_ns = due[0][0] - time.monotonic_ns() if due else 1_000_000_000
        for ready, _ in poll.poll(max(0, wait_ns // 1_000_000)):
            if ready == 0:
                return
            if ready == listener.fileno():
                end, _ = listener.accept()
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ends[end.fileno()] = end
                poll.register(end, select.POLLIN)
            else:
                _read(poll, ends, due, ready)
        _answer(ends, due, lines)


def _read(
    poll: select.poll,
    ends: dict[int, socket.socket],
    due: list[tuple[int, int, int]],
    ready: int,
) -> None:
    request = ends[ready].recv(64).decode().split()
    if not request:
        poll.unregister(ready)
        ends.pop(ready).close()
        return
    at_ns = time.monotonic_ns() + int(request[1]) * 1000
    heapq.heappush(due, (at_ns, int(request[0]), ready))


def _answer(
    ends: dict[int, socket.socket], due: list[tuple[int, int, int]], lines: list[str]
) -> None:
    while due and due[0][0] <= time.monotonic_ns():
        _, identity, ready = heapq.heappop(due)
        before = time.monotonic_ns()
        ends[ready].send(b"done\n")
        lines.append(f"{identity} {before} {time.monotonic_ns()}")


def main() -> None:
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, lines)
    Path(sys.argv[1]).write_text("\n".join(lines))


main()
