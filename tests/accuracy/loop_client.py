# SPDX-License-Identifier: GPL-2.0-only
"""An asyncio agent: several steps in flight on one thread, each bound to its socket.

Usage: loop_client.py PORT WORKERS STEPS SEED OUT. A line of OUT is 'id cookie begin_ns end_ns'.
"""

from __future__ import annotations

import asyncio
import ctypes
import random
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from agenttune.steps import step

LEAST_US, MOST_US = 500, 20_000


async def work(port: int, steps: int, draw: random.Random, lines: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)
    for _ in range(steps):
        begin = time.monotonic_ns()
        async with step("call", kind="tool") as mark:
            mark.bind(writer)
            writer.write(f"{mark.id} {draw.randint(LEAST_US, MOST_US)}\n".encode())
            await reader.readline()
        lines.append(f"{mark.id} {cookie} {begin} {time.monotonic_ns()}")
        await asyncio.sleep(draw.uniform(0, 0.002))
    writer.close()


async def main() -> None:
    port, workers, steps, seed = map(int, sys.argv[1:5])
    lines: list[str] = []
    draws = [random.Random(f"{seed} {worker}") for worker in range(workers)]
    await asyncio.gather(*(work(port, steps, draw, lines) for draw in draws))
    Path(sys.argv[5]).write_text("\n".join(lines))


ctypes.CDLL(None).prctl(15, b"at-loop", 0, 0, 0)
asyncio.run(main())
