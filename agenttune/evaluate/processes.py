# SPDX-License-Identifier: GPL-2.0-only
"""Processes: what an evaluation starts, and ends with it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import agenttune
from agenttune.errors import HostError

READY = "ready"
_READY_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 5.0
# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def become(comm: str) -> None:
    """Take a name, and die with the process that started this one, however that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    libc.prctl(_PR_SET_NAME, comm.encode(), 0, 0, 0)
    if os.getppid() == 1:
        raise SystemExit("the evaluation has ended")


def say_ready(what: str = READY) -> None:
    print(what, flush=True)


@contextmanager
def running(
    module: str, arguments: Sequence[object]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`agenttune.evaluate.MODULE` as a process, and the line by which it said that it is ready.

    A session of its own: a Ctrl-C at the terminal is for the evaluation, which then ends these.
    Raises HostError with what it printed when it does not get ready.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"agenttune.evaluate.{module}", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(agenttune.__file__).parent.parent)},
        start_new_session=True,
        text=True,
    )
    try:
        yield process, _await_ready(process, module)
    finally:
        _end(process)


def require_alive(process: subprocess.Popen[str], what: str) -> None:
    """Raises HostError, with its last words, for a process that has ended."""
    if process.poll() is not None:
        assert process.stderr is not None
        words = process.stderr.read().strip().splitlines()
        raise HostError(
            f"{what} ended early (exit {process.returncode}): {words[-1] if words else 'no word'}"
        )


def _await_ready(process: subprocess.Popen[str], module: str) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _READY_TIMEOUT_S)
    line = process.stdout.readline().strip() if readable else ""
    if not line.startswith(READY):
        process.kill()
        process.wait()
        require_alive(process, f"the evaluation's {module}")
    return line.removeprefix(READY).strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
