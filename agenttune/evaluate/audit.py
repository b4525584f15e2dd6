# SPDX-License-Identifier: GPL-2.0-only
"""Audit: what the host's settings read, without the code that changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from agenttune.host.tree import Tree

_FILES = (
    "/proc/irq/default_smp_affinity",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/net/ipv4/tcp_fastopen",
    "/sys/kernel/mm/transparent_hugepage/enabled",
)
# What agenttune changes, and what tuned's latency profiles and irqbalance do.
_GLOBS = (
    ("/proc/irq", "*/smp_affinity_list"),
    ("/sys/class/net", "*/queues/rx-*/rps_cpus"),
    ("/sys/class/net", "*/queues/tx-*/xps_cpus"),
    ("/sys/class/net", "*/threaded"),
    ("/proc/sys/net/core", "*"),
    ("/proc/sys/kernel/agent_latency", "*"),
    ("/sys/devices/system/cpu/cpufreq", "policy*/scaling_governor"),
    ("/sys/devices/system/cpu/cpufreq", "policy*/energy_performance_preference"),
)


def snapshot(tree: Tree, pids: Iterable[int]) -> dict[str, str]:
    """The content of each of those files, and the CPUs that each thread of `pids` may use."""
    paths = list(_FILES)
    for folder, pattern in _GLOBS:
        found = sorted(Path(tree.path(folder)).glob(pattern))
        paths += [f"{folder}/{path.relative_to(tree.path(folder))}" for path in found]
    seen = {path: text for path in paths if (text := tree.read(path)) is not None}
    for pid in pids:
        for tid in tree.numbers(f"/proc/{pid}/task"):
            status = tree.read(f"/proc/{pid}/task/{tid}/status") or ""
            allowed = [line for line in status.splitlines() if "Cpus_allowed_list" in line]
            if allowed:
                seen[f"/proc/{pid}/task/{tid}/status"] = allowed[0]
    return seen


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each file that does not read as before; threads that came or went are none."""
    return tuple(
        f"{name}: was {before.get(name, 'not there')!r}, is {after.get(name, 'not there')!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
        and not (name.startswith("/proc/") and "/task/" in name and name not in before)
        and not ("/task/" in name and name not in after)
    )
