# SPDX-License-Identifier: GPL-2.0-only
"""A process whose steps are known: it marks them, and tells when it did.

Run as a script. Prints one JSON object: by step id, its clock before and after each mark; and what
else the test has to know. Everything but its partners runs on the CPU given as the argument.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SLEEP, SPIN, PIPE, COMPETE, TCP, CHILD, OUTER, INNER, FIRST, SECOND, FORK, BOUND, OTHER = range(
    1, 14
)
THREADS = range(100, 116)
CROWD = range(200, 209)
STRAY, UNFINISHED = 300, 301
# Of the child that FORK's step forks.
CHILDS_OWN = 302

SLEEP_S, SPIN_S, DELAY_S, COMPETE_S, ROUNDS = 0.02, 0.02, 0.01, 0.1, 500
HOLD_S, NAP_NS = 0.02, 5_000_000
SWITCH_KINDS = ("blocked", "preempted")
DEADLINE_NS, BUDGET_US = 123_456_789, 500
LONG_NAME = "a name that is too long to keep"

MARK = 0x41475354
BEGIN, END, BIND, UNBIND = 1, 2, 3, 4
OTHER_KIND, TOOL, MODEL = 0, 1, 2

clock = time.monotonic_ns
libc = ctypes.CDLL(None)
prctl = libc.prctl
prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
times: dict[int, list[int]] = {}
told: dict[str, int] = {}
names: list[object] = []


def begin(
    step: int,
    name: str = "",
    kind: int = TOOL,
    limits: tuple[int, int] = (0, 0),
    shared: bool = False,
) -> None:
    word = BEGIN | kind << 8 | shared << 15
    if name:
        buffer = ctypes.create_string_buffer(name.encode())
        names.append(buffer)
        word |= ctypes.addressof(buffer) << 16
    before = clock()
    prctl(MARK, word, step, *limits)
    times[step] = [before, clock()]


def end(step: int) -> None:
    before = clock()
    prctl(MARK, END, step, 0, 0)
    times.setdefault(step, []).extend((before, clock()))


@contextlib.contextmanager
def step(number: int, name: str = "") -> Iterator[None]:
    begin(number, name)
    yield
    end(number)


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def nap() -> None:
    """Sleep for NAP_NS from the system call on.

    time.sleep() first sets a deadline, then lets other threads go on: one that those keep from the
    CPU meanwhile sleeps for less, or not at all (Modules/timemodule.c, Python 3.11).
    """
    libc.nanosleep((ctypes.c_long * 2)(0, NAP_NS), None)


def sleep_and_spin() -> None:
    begin(SLEEP, "sleep", limits=(DEADLINE_NS, BUDGET_US))
    time.sleep(SLEEP_S)
    end(SLEEP)
    begin(SPIN, LONG_NAME, kind=MODEL)
    spin(SPIN_S)
    end(SPIN)


def partner(work: str) -> int:
    """A child process that runs `work`, free to use any CPU."""
    pid = os.fork()
    if pid:
        return pid
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    globals()[work]()
    os._exit(0)


def ping_pong() -> None:
    there, back = os.pipe(), os.pipe()

    def answer() -> None:
        for _ in range(ROUNDS):
            os.read(there[0], 1)
            os.write(back[1], b"x")

    globals()["answer"] = answer
    told["pipe partner"] = partner("answer")
    before = switches()
    with step(PIPE, "pipe"):
        after_begin = switches()
        for _ in range(ROUNDS):
            os.write(there[1], b"x")
            os.read(back[0], 1)
        told["least switches"] = switches() - after_begin
    told["most switches"] = switches() - before
    os.waitpid(told["pipe partner"], 0)


def switch_counts() -> tuple[int, int]:
    """How often the thread left its CPU to wait, and how often it was made to leave."""
    status = Path("/proc/thread-self/status").read_text()
    counts = [line.split()[1] for line in status.splitlines() if "ctxt_switches" in line]
    return int(counts[0]), int(counts[1])


def switches() -> int:
    return sum(switch_counts())


def run_delay_ns() -> int:
    """Time runnable and not running: /proc/PID/schedstat (Documentation/scheduler/)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def compete() -> None:
    cpu = os.sched_getaffinity(0)

    def hog() -> None:
        """Ahead of all others, or on a crowded CPU those hold it for longer."""
        os.sched_setaffinity(0, cpu)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while True:
            spin(HOLD_S)
            time.sleep(HOLD_S / 4)

    globals()["hog"] = hog
    told["hog"] = partner("hog")
    time.sleep(0.02)
    before_ns = run_delay_ns()
    with step(COMPETE, "compete"):
        after_begin_ns = run_delay_ns()
        spin(COMPETE_S)
        told["least run delay"] = run_delay_ns() - after_begin_ns
    told["most run delay"] = run_delay_ns() - before_ns
    os.kill(told["hog"], signal.SIGKILL)
    os.waitpid(told["hog"], 0)


def tcp() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def peer() -> None:
        connection, _ = listener.accept()
        for _ in range(3):
            connection.recv(1)
            time.sleep(DELAY_S)
            connection.send(b"x")

    globals()["peer"] = peer
    told["peer"] = partner("peer")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        told["cookie"] = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, 57, 8), "little")
        with step(TCP, "tcp"):
            connection.send(b"x")
            connection.recv(1)
        shared_thread(connection)
        connection.send(b"x")
        connection.recv(1)
    listener.close()
    os.waitpid(told["peer"], 0)


def shared_thread(connection: socket.socket) -> None:
    """Two steps share the thread; one has a socket, which is ready while the thread is busy."""
    begin(BOUND, "bound", kind=MODEL, shared=True)
    begin(OTHER, "other", kind=OTHER_KIND, shared=True)
    prctl(MARK, BIND, BOUND, told["cookie"], 0)
    connection.send(b"x")
    time.sleep(2 * DELAY_S)
    connection.recv(1)
    prctl(MARK, UNBIND, BOUND, told["cookie"], 0)
    end(BOUND)
    end(OTHER)


def wait_for_child() -> None:
    def rest() -> None:
        time.sleep(DELAY_S)

    globals()["rest"] = rest
    with step(CHILD, "child"):
        told["child"] = partner("rest")
        os.waitpid(told["child"], 0)


def nest_and_overlap() -> None:
    with step(OUTER, "outer"):
        time.sleep(0.002)
        with step(INNER, "inner"):
            time.sleep(0.002)
    begin(FIRST, "first")
    begin(SECOND, "second")
    time.sleep(0.002)
    end(FIRST)
    end(SECOND)


def many_threads() -> None:
    def work(number: int) -> None:
        before = switch_counts()
        with step(number, f"thread {number}"):
            after_begin = switch_counts()
            nap()
            before_end = switch_counts()
        after = switch_counts()
        for kind in range(2):
            told[f"{number} least {SWITCH_KINDS[kind]}"] = before_end[kind] - after_begin[kind]
            told[f"{number} most {SWITCH_KINDS[kind]}"] = after[kind] - before[kind]

    workers = [threading.Thread(target=work, args=(number,)) for number in THREADS]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def crowd() -> None:
    """One more than fits on a thread."""
    for number in CROWD:
        begin(number)
    for number in CROWD:
        end(number)


def fork() -> None:
    """The child ends its parent's step in vain, and has one of its own."""

    def child() -> None:
        end(FORK)
        with step(CHILDS_OWN, "child's own"):
            time.sleep(0.002)

    globals()["child"] = child
    with step(FORK, "fork"):
        told["forked"] = partner("child")
        os.waitpid(told["forked"], 0)


def main(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    for act in (
        sleep_and_spin, ping_pong, compete, tcp, wait_for_child, nest_and_overlap,
        many_threads, crowd, fork,
    ):  # fmt: skip
        act()
    end(STRAY)
    begin(UNFINISHED)
    told["pid"] = os.getpid()
    print(json.dumps({"times": times, "told": told}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
