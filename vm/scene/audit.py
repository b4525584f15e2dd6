# SPDX-License-Identifier: GPL-2.0-only
"""Audit: every file that agenttune may write, as text, read without agenttune."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_FILES = (
    "/proc/irq/default_smp_affinity",
    "/proc/sys/net/core/netdev_budget",
    "/proc/sys/net/core/netdev_budget_usecs",
    "/proc/sys/net/core/dev_weight",
)
_GLOBS = (
    ("/proc/irq", "*/smp_affinity"),
    ("/sys/class/net", "*/queues/rx-*/rps_cpus"),
    ("/sys/class/net", "*/queues/tx-*/xps_cpus"),
)
_UNREADABLE = "cannot be read"


def snapshot(pid: int) -> Mapping[str, str]:
    """The content of each of those files, and the CPUs that each thread of `pid` may use."""
    paths = [Path(name) for name in _FILES]
    for root, pattern in _GLOBS:
        paths += sorted(Path(root).glob(pattern))
    found = {str(path): _content(path) for path in paths}
    for status in sorted(Path(f"/proc/{pid}/task").glob("*/status")):
        allowed = [line for line in _content(status).splitlines() if "Cpus_allowed:" in line]
        found[f"{status} Cpus_allowed"] = "".join(allowed)
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """One line for each file that does not read as before."""
    return [
        f"{name}: was {before.get(name, 'not there')!r}, is {after.get(name, 'not there')!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        # xps_cpus of a device with one queue, among others.
        return _UNREADABLE
