# SPDX-License-Identifier: GPL-2.0-only
"""The tool that the agent calls: a small request in, 1 KiB out."""

from __future__ import annotations

import argparse
import socket
from contextlib import suppress

from vm.scene.processes import become, say_ready

PORT = 7701
REQUEST_BYTES = 128
RESPONSE_BYTES = 1024


def serve(address: str, cpu: int | None, seconds: float) -> None:
    """Answers one connection until it closes, nothing comes for `seconds`, or the parent ends."""
    become("toolserver", cpu)
    with socket.create_server((address, PORT)) as listener:
        listener.settimeout(seconds)
        say_ready()
        connection, _ = listener.accept()
        # An agent that is stopped in the middle of a call resets the connection.
        with connection, suppress(ConnectionError):
            connection.settimeout(seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while receive_exactly(connection, REQUEST_BYTES):
                connection.sendall(bytes(RESPONSE_BYTES))


def receive_exactly(connection: socket.socket, size: int) -> bool:
    """Reads `size` bytes; False when the other side closed instead."""
    missing = size
    while missing:
        data = connection.recv(missing)
        if not data:
            return False
        missing -= len(data)
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    values = parser.parse_args()
    serve(values.address, values.cpu, values.seconds)


if __name__ == "__main__":
    main()
