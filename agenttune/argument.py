# SPDX-License-Identifier: GPL-2.0-only
"""Arguments: text to checked values. All raise InputError."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

from agenttune.errors import AgenttuneError, InputError


def step_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) <= 100_000:
        raise InputError(f"{text[:40]!r} is not a count from 1 to 100000")
    return int(text)


def seconds(text: str) -> float:
    try:
        found = float(text.removesuffix("s"))
    except ValueError:
        found = math.nan
    if not 0 < found <= 86400:
        raise InputError(f"{text[:40]!r} is not a number of seconds above 0, at most 86400")
    return found


def byte_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:12]) < 1 << 32:
        raise InputError(f"{text[:40]!r} is not a number of bytes from 1 to {(1 << 32) - 1}")
    return int(text)


def checked(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type that reports our own message and hint."""

    def wrapped(text: str) -> Any:
        try:
            return convert(text)
        except AgenttuneError as error:
            raise argparse.ArgumentTypeError(f"{error.message}. {error.hint}".rstrip()) from error

    return wrapped
