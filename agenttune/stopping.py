# SPDX-License-Identifier: GPL-2.0-only
"""Stopping: signals that end a window early instead of the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupted() -> Iterator[Callable[[], bool]]:
    """A question that Ctrl-C and SIGTERM answer with yes, instead of ending the program."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [
        signal.signal(number, lambda number, _frame: caught.append(number)) for number in numbers
    ]
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
