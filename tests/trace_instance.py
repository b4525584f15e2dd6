# SPDX-License-Identifier: GPL-2.0-only
"""A trace buffer of a test's own, beside those of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")


@contextmanager
def trace_instance(name: str, tracefs: Path = TRACEFS) -> Iterator[Path]:
    """Its folder in tracefs; it goes at exit, with the events enabled in it."""
    folder = tracefs / "instances" / name
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()
