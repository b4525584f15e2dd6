# SPDX-License-Identifier: GPL-2.0-only
"""Softirq sysctls, each known to take its old value back."""

from __future__ import annotations

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.errors import HostError

# Only these: a sysctl may read as a value that it does not accept (vm.dirty_bytes reads 0 and
# refuses 0), so each one here was checked in net/core/sysctl_net_core.c, v6.1 and v6.12.
# netdev_budget takes any int; the others refuse values below a minimum that their default meets.
_FILES = {
    "net.core.netdev_budget": "/proc/sys/net/core/netdev_budget",
    "net.core.netdev_budget_usecs": "/proc/sys/net/core/netdev_budget_usecs",
    "net.core.dev_weight": "/proc/sys/net/core/dev_weight",
}


def _locate(kernel: Kernel, target: str) -> str:
    path = _FILES.get(target)
    if path is None:
        raise HostError(
            f"sysctl {target[:80]!r} has no known inverse, so it could not be undone",
            hint=f"agenttune changes {', '.join(_FILES)}.",
        )
    if not kernel.tree.exists(path):
        raise TargetGone(f"this network namespace has no sysctl {target}")
    return path


def _read(kernel: Kernel, path: str) -> str:
    return kernel.read(path).strip()


def _write(kernel: Kernel, path: str, value: str) -> str:
    return kernel.write_once(path, value + "\n").strip()


def _canonical(value: str) -> str:
    return str(int(value))


OPS = KnobOps(locate=_locate, read=_read, write=_write, canonical=_canonical)
