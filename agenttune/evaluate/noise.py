# SPDX-License-Identifier: GPL-2.0-only
"""Noise: what else this machine does while the agent works; bounded in time, count and rate."""

from __future__ import annotations

import argparse
import mmap
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from agenttune.evaluate.processes import become, say_ready


class Noise(StrEnum):
    """Kinds of noise, each by a process of its own.

    network: small UDP packets over loopback to a socket that nobody reads, so that they cost
    softirq time and wake nobody. disk: direct reads of 16 KiB. timers: threads that sleep 1 ms
    again and again. cpu: a process that computes half of the time.
    """

    NETWORK = "network"
    DISK = "disk"
    TIMERS = "timers"
    CPU = "cpu"


# At most so many a second, and so many at all.
RATES = {Noise.NETWORK: 30_000, Noise.DISK: 300, Noise.TIMERS: 1_000, Noise.CPU: 50}
MAX_COUNT = 500_000_000
TIMER_THREADS = 8
PACKET_BYTES = 256
READ_BYTES = 16 << 10
# Sleeping for each packet would be slower than the rate.
_BURST = 64


def paced(act: Callable[[], None], rate: float, seconds: float, count: int) -> int:
    """Act at most `rate` times a second, until the seconds or the count are over; how often."""
    begin_s = time.monotonic()
    done = 0
    while done < count and (now_s := time.monotonic() - begin_s) < seconds:
        ahead_s = done / rate - now_s
        if ahead_s > 0:
            time.sleep(ahead_s)
        for _ in range(min(_BURST if rate > 1000 else 1, count - done)):
            act()
            done += 1
    return done


def network(values: argparse.Namespace) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source,
    ):
        sink.bind(("127.0.0.1", 0))
        source.connect(sink.getsockname())
        packet = bytes(PACKET_BYTES)
        say_ready()
        paced(lambda: _ignore(source.send(packet)), values.rate, values.seconds, values.count)


def disk(values: argparse.Namespace) -> None:
    file = os.open(values.data, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    places = os.lseek(file, 0, os.SEEK_END) // READ_BYTES
    buffer, draw = mmap.mmap(-1, READ_BYTES), random.Random(values.seed)
    say_ready()
    paced(
        lambda: _ignore(os.preadv(file, [buffer], draw.randrange(places) * READ_BYTES)),
        *(values.rate, values.seconds, values.count),
    )


def timers(values: argparse.Namespace) -> None:
    bounds = (values.rate, values.seconds, values.count // TIMER_THREADS)
    threads = [
        threading.Thread(target=paced, args=(lambda: None, *bounds), daemon=True)
        for _ in range(TIMER_THREADS)
    ]
    for each in threads:
        each.start()
    say_ready()
    for each in threads:
        each.join()


def cpu(values: argparse.Namespace) -> None:
    say_ready()
    paced(lambda: _compute(0.5 / values.rate), values.rate, values.seconds, values.count)


def _compute(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


def _ignore(_value: int) -> None:
    """Its making is the noise."""


_KINDS = {Noise.NETWORK: network, Noise.DISK: disk, Noise.TIMERS: timers, Noise.CPU: cpu}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m agenttune.evaluate.noise")
    parser.add_argument("kind", type=Noise, choices=tuple(Noise))
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--count", type=int, default=MAX_COUNT)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--data")
    parser.add_argument("--seed", type=int, default=1)
    values = parser.parse_args()
    values.rate = values.rate or RATES[values.kind]
    become(f"noise-{values.kind}")
    _KINDS[values.kind](values)
    # The evaluation ends this process; it waits for that, so that an early end is a failure.
    time.sleep(max(0.0, values.seconds))


if __name__ == "__main__":
    main()
