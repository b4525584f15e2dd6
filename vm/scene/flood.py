# SPDX-License-Identifier: GPL-2.0-only
"""A bounded UDP flood: as fast as it goes, but only so long and so many."""

from __future__ import annotations

import argparse
import socket
import time

from vm.scene.processes import become, say_ready

PORT = 7702
PACKET_BYTES = 256
# One system call hands the kernel a burst to cut into packets (UDP_SEGMENT in linux/udp.h, at most
# UDP_MAX_SEGMENTS = 64), so the source costs little beside what its packets cost the receiver.
BURST_PACKETS = 60
_SOL_UDP = 17
_UDP_SEGMENT = 103


def flood(address: str, seconds: float, packets: int, pause_us: int) -> int:
    """Sends up to `packets` packets to `address`, resting between bursts; how many went out."""
    deadline_ns = time.monotonic_ns() + round(seconds * 1e9)
    payload = bytes(PACKET_BYTES * BURST_PACKETS)
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(_SOL_UDP, _UDP_SEGMENT, PACKET_BYTES)
        out.connect((address, PORT))
        while sent + BURST_PACKETS <= packets and time.monotonic_ns() < deadline_ns:
            out.send(payload)
            sent += BURST_PACKETS
            if pause_us:
                time.sleep(pause_us / 1e6)
    return sent


def open_sink(address: str) -> socket.socket:
    """A socket for the flood to end in. Nobody reads it: when full, it drops without a wakeup."""
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind((address, PORT))
    return sink


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--packets", type=int, required=True)
    parser.add_argument("--pause-us", type=int, default=0)
    values = parser.parse_args()
    become("flood", values.cpu)
    say_ready()
    flood(values.address, values.seconds, values.packets, values.pause_us)


if __name__ == "__main__":
    main()
