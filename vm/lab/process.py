# SPDX-License-Identifier: GPL-2.0-only
"""QEMU as a child process that cannot outlive the lab."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Interrupted(BaseException):
    """A signal asked the lab to stop; not an Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _raise_interrupted(number: int, _frame: object) -> None:
    raise Interrupted(number)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turns SIGINT, SIGTERM and SIGHUP into Interrupted, so that cleanup runs."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _raise_interrupted) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(
    arguments: list[str], log: Path, inherited: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs QEMU with its messages in `log`; kills it on the way out.

    It has a session of its own, so a terminal's Ctrl-C reaches the lab only; the kernel kills it
    when the lab itself is killed (PR_SET_PDEATHSIG, by setpriv).
    """
    with log.open("wb") as messages:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            pass_fds=inherited,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
