# SPDX-License-Identifier: GPL-2.0-only
"""Output: what verbs print and write."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agenttune import document
from agenttune.cli import Args
from agenttune.errors import AgenttuneError

T = TypeVar("T")


def emit(args: Args, kind: str, value: T, text: Callable[[T], str]) -> None:
    sys.stdout.write(document.encode(kind, value).decode() if args.json else text(value))


def save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AgenttuneError(f"{path}: cannot be written: {error.strerror}") from error


def say(text: str) -> None:
    print(f"agenttune: {text}", file=sys.stderr, flush=True)
