# SPDX-License-Identifier: GPL-2.0-only
"""The tool: answers each request with as much JSON as it asks for.

A request is its own length and the answer's, in network order, then JSON; an answer is its length,
then JSON. Runs by itself where the tool is to be elsewhere:
python3 -m agenttune.evaluate.toolserver --listen 10.0.0.2:7801
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import struct

from agenttune.evaluate.processes import become, say_ready

REQUEST = struct.Struct("!II")
ANSWER = struct.Struct("!I")
MAX_BYTES = 1 << 20
PORT = 7801


def make_json(size: int) -> bytes:
    """A tool's result of exactly this many bytes, at least 64: rows, and a filler to fit."""
    draw = random.Random(size)
    rows, used = [], 40
    while used < size - 80:
        row = {"id": draw.randrange(10**6), "score": round(draw.random(), 4), "text": "lorem ipsum"}
        rows.append(row)
        used += len(json.dumps(row)) + 2
    bare = json.dumps({"rows": rows, "fill": ""})
    while len(bare) > size:
        rows.pop()
        bare = json.dumps({"rows": rows, "fill": ""})
    return json.dumps({"rows": rows, "fill": "x" * (size - len(bare))}).encode()


class _Connection:
    def __init__(self, stream: socket.socket) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream, self.buffer = stream, b""

    def serve(self, answers: dict[int, bytes]) -> bool:
        """Answer what has come; False when the agent has gone or talks nonsense."""
        data = self.stream.recv(1 << 16)
        self.buffer += data
        while len(self.buffer) >= REQUEST.size:
            length, wanted = REQUEST.unpack_from(self.buffer)
            if not (64 <= wanted <= MAX_BYTES and length <= MAX_BYTES):
                return False
            if len(self.buffer) < REQUEST.size + length:
                break
            self.buffer = self.buffer[REQUEST.size + length :]
            if wanted not in answers:
                answers[wanted] = ANSWER.pack(wanted) + make_json(wanted)
            self.stream.sendall(answers[wanted])
        return bool(data)


def serve(listener: socket.socket) -> None:
    """For ever; one thread, as many agents as come."""
    answers: dict[int, bytes] = {}
    connections: dict[int, _Connection] = {}
    with select.epoll() as poll:
        poll.register(listener, select.EPOLLIN)
        while True:
            for number, _events in poll.poll():
                if number == listener.fileno():
                    made = _Connection(listener.accept()[0])
                    connections[made.stream.fileno()] = made
                    poll.register(made.stream, select.EPOLLIN)
                    continue
                try:
                    goes_on = connections[number].serve(answers)
                except OSError:
                    goes_on = False
                if not goes_on:
                    poll.unregister(number)
                    connections.pop(number).stream.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m agenttune.evaluate.toolserver")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--alone", action="store_true", help="outlive the process that started it")
    values = parser.parse_args()
    if not values.alone:
        become("tool")
    host, _, port = values.listen.rpartition(":")
    with socket.create_server((host, int(port))) as listener:
        say_ready("ready {}:{}".format(*listener.getsockname()[:2]))
        serve(listener)


if __name__ == "__main__":
    main()
