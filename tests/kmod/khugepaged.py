# SPDX-License-Identifier: GPL-2.0-only
"""khugepaged, hurried: a kernel thread that a timer wakes, and that locks a process's map."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_KNOBS = Path("/sys/kernel/mm/transparent_hugepage")
_HURRIED = {
    "enabled": "madvise",
    "khugepaged/scan_sleep_millisecs": "1",
    "khugepaged/pages_to_scan": "8192",
}
_BYTES = 16 << 20
_PAGE = mmap.PAGESIZE


@contextmanager
def hurried() -> Iterator[None]:
    """It looks for small pages of maps that want huge ones, all the time.

    PREEMPT_RT is built without huge pages (TRANSPARENT_HUGEPAGE in mm/Kconfig, v6.12).
    """
    if not _KNOBS.exists():
        pytest.skip("needs a kernel with transparent huge pages")
    with ExitStack() as stack:
        for name, value in _HURRIED.items():
            knob = _KNOBS / name
            before = knob.read_text()
            # 'always [madvise] never'
            chosen = before.partition("[")[2].partition("]")[0] or before
            stack.callback(knob.write_text, chosen)
            knob.write_text(value)
        yield


def contend(seconds: float) -> None:
    """Maps and unmaps while khugepaged makes 16 MiB of this process huge."""
    until = time.monotonic() + seconds
    with mmap.mmap(-1, _BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as small:
        for offset in range(0, _BYTES, _PAGE):
            small[offset] = 1
        small.madvise(mmap.MADV_HUGEPAGE)
        while time.monotonic() < until:
            mmap.mmap(-1, _PAGE).close()
