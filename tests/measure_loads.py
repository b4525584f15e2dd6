# SPDX-License-Identifier: GPL-2.0-only
"""Bounded loads that raise interrupts, and agents whose wakings are known."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

COMM = "at-test-agent"

# Each agent names itself, says 'ready', works for its argument's count of turns when told, and
# says 'done'.
AGENT = """
import ctypes, os, select, socket, sys, threading, time
def rename(name):
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
count = int(sys.argv[1])
rename(sys.argv[2])
def say(word):
    os.write(1, word.encode() + b"\\n")
def listen():
    os.read(0, 1)
"""

SLEEPER = (
    AGENT
    + """
say("ready"); listen()
for _ in range(count):
    time.sleep(0.002)
say("done"); listen()
"""
)

# Blocks on standard input, which the test writes to.
PIPE_READER = (
    AGENT
    + """
say("ready"); listen()
for _ in range(count):
    listen()
say("done"); listen()
"""
)

UDP_READER = (
    AGENT
    + """
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
say(str(receiver.getsockname()[1])); listen()
for _ in range(count):
    receiver.recv(64)
say("done"); listen()
"""
)

# Starts a thread inside the window; the thread gives itself the watched name.
LATE_THREAD = (
    AGENT
    + """
rename("at-test-other")
def work():
    rename(sys.argv[2])
    spin(0.2)
say("ready"); listen()
thread = threading.Thread(target=work)
thread.start(); thread.join()
say("done"); listen()
"""
)

# Holds the CPU of its argument at real-time priority until it is told to stop, at most for the
# 0.95 s per second that the kernel allows. Whoever listens to it must keep off that CPU.
SPINNER = (
    AGENT
    + """
os.sched_setaffinity(0, {count})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
socket_ = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
socket_.bind(("127.0.0.1", 0))
say("ready")
end = time.monotonic() + 0.9
while time.monotonic() < end and not select.select([0], [], [], 0)[0]:
    socket_.sendto(b"x", socket_.getsockname())
    try:
        socket_.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass  # v6.1 leaves the softirq to ksoftirqd, which cannot run now.
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
say("done"); listen()
"""
)


class Agent:
    """A running agent process."""

    def __init__(self, script: str, count: int, comm: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(count), comm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.pid = self._process.pid

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def poke(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"x")

    def end(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.poke()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def agent(script: str, count: int = 0, comm: str = COMM) -> Iterator[Agent]:
    """The agent has not begun yet; leaving waits for its end."""
    running = Agent(script, count, comm)
    try:
        yield running
    finally:
        running.end()


def disk() -> Path:
    """What to read from: a folder on a disk of this machine, or else the disk itself."""
    folder = Path("/var/tmp")
    if os.major(folder.stat().st_dev):
        return folder
    nodes = [node for kind in ("nvme?n1", "vd?", "sd?") for node in Path("/dev").glob(kind)]
    assert nodes, "this test needs a disk with interrupts: NVMe, virtio-blk, SCSI"
    return min(nodes)


def read_disk(place: Path, reads: int) -> None:
    """Uncached reads of 4 KiB at scattered places of a MiB."""
    with contextlib.ExitStack() as stack:
        if place.is_dir():
            file = stack.enter_context(tempfile.NamedTemporaryFile(dir=place))
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
            place = Path(file.name)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECT)
        stack.callback(os.close, fd)
        buffer = stack.enter_context(mmap.mmap(-1, 4096))
        for turn in range(reads):
            os.preadv(fd, [buffer], turn * 37 % 256 * 4096)


def loopback(datagrams: int) -> None:
    """Each datagram raises NET_RX and is polled from the backlog."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        for _ in range(datagrams):
            end.sendto(b"x", end.getsockname())
            end.recv(1)


def timers(count: int) -> None:
    for _ in range(count):
        time.sleep(0.001)
