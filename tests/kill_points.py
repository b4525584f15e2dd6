# SPDX-License-Identifier: GPL-2.0-only
"""kill -9 at every effect of an action, one child process for each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FrameType

from agenttune.errors import AgenttuneError

# Everything that apply and revert do to the world, as the functions of C that do it. Reads are left
# out: the world is the same before and after one.
EFFECTS = frozenset(
    {
        *("mkdir", "rename", "unlink", "fsync", "flock", "ftruncate", "pwrite"),
        *("connect", "execute", "executemany", "executescript"),
        *("write", "sched_setaffinity"),
    }
)


class Killer:
    """A profiler that kills its process at point `at`, counting before and after each effect."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, _frame: FrameType, event: str, called: object) -> None:
        if event not in ("c_call", "c_return") or not isinstance(called, BuiltinFunctionType):
            return
        if called.__name__ in EFFECTS:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


def survives(at: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child that dies at point `at`; True when it ended before."""
    child = os.fork()
    if child == 0:
        sys.setprofile(Killer(at))
        try:
            action()
        except AgenttuneError:
            pass
        finally:
            sys.setprofile(None)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
    return os.WIFEXITED(status)


def kill_everywhere(action: Callable[[], object]) -> Iterator[int]:
    """Kill `action` at point 0, 1, …; the body of the loop checks and cleans up after each."""
    at = 0
    while not survives(at, action):
        yield at
        at += 1
