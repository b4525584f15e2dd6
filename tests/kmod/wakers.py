# SPDX-License-Identifier: GPL-2.0-only
"""Who woke a thread, by the kernel's own trace events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from trace_instance import trace_instance

_WAKER = re.compile(r"^\s*(.+)-\d+\s+\[\d+\].*: sched_waking: ", re.MULTILINE)


@contextmanager
def wakers_of(tid: int) -> Iterator[list[str]]:
    """The comm of whoever woke it, or was interrupted by what did; filled in at exit."""
    found: list[str] = []
    with trace_instance("wakers") as instance:
        event = instance / "events/sched/sched_waking"
        (event / "filter").write_text(f"pid == {tid}")
        (event / "enable").write_text("1")
        yield found
        (event / "enable").write_text("0")
        found.extend(_WAKER.findall((instance / "trace").read_text()))
