# SPDX-License-Identifier: GPL-2.0-only
"""What the scene's processes have in common."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
READY = "ready"

# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


class SceneError(Exception):
    """The scene cannot be set up or kept up."""


def become(comm: str, cpu: int | None) -> None:
    """Takes the name `comm`, goes to `cpu`, and dies when the parent does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if libc.prctl(_PR_SET_NAME, comm.encode(), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NAME)")
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def say_ready() -> None:
    """Tells the parent's `start` that this process does its work now."""
    print(READY, flush=True)


def start(module: str, *arguments: object, namespace: str | None = None) -> subprocess.Popen[str]:
    """Starts a module, in a network namespace if given, and waits until it says so itself."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    process = subprocess.Popen(
        [*inside, sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=TREE,
        text=True,
    )
    assert process.stdout is not None
    if not process.stdout.readline().startswith(READY):
        process.kill()
        raise SceneError(f"{module} did not start (exit {process.wait()})")
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """Ends `process` if it still runs; it gets a moment to clean up after itself."""
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
