# SPDX-License-Identifier: GPL-2.0-only
"""The debug kernel: its checkers that have to be asked, which others lack, and its pace."""

from __future__ import annotations

import re
import time
from pathlib import Path

_KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
_LOCKDEP = Path("/proc/lockdep_stats")
# Younger objects are not reported (MSECS_MIN_AGE in mm/kmemleak.c), nor those seen just once.
_MIN_AGE_SECONDS = 5.0


def slow() -> bool:
    """Whether every memory access and every lock is checked here."""
    return _LOCKDEP.exists()


def patience(seconds: float) -> float:
    """Twenty times as long where all is slow."""
    return 20 * seconds if slow() else seconds


def paced(amount: float) -> float:
    """Five times as much there: for what is waited for in full, or measured."""
    return 5 * amount if slow() else amount


def forget_leaks() -> None:
    """Leaves out of later reports what looks leaked now, before the module came."""
    if _KMEMLEAK.exists():
        _KMEMLEAK.write_text("clear")


def found_leaks() -> str:
    """kmemleak's report of what the module may have leaked; empty where there is no kmemleak."""
    if not _KMEMLEAK.exists():
        return ""
    time.sleep(_MIN_AGE_SECONDS + 1)
    for _ in range(2):
        _KMEMLEAK.write_text("scan")
    return _KMEMLEAK.read_text()


def lock_checks_on() -> bool:
    """Whether lockdep still looks: it stops at its first complaint, and when a table is full."""
    if not slow():
        return True
    found = re.search(r"debug_locks:\s+(\d)", _LOCKDEP.read_text())
    return found is not None and found[1] == "1"
