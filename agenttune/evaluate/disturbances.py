# SPDX-License-Identifier: GPL-2.0-only
"""Disturbances: what else happened to the machine while a block ran."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agenttune.host.counters import read_interrupt_rows
from agenttune.host.tree import Tree

_CPUS = "/sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class Disturbances:
    """Of one block. None: this machine does not tell.

    `steal_pct`: CPU time that a hypervisor gave to others, of all there was. `frequency_mhz`: the
    least and the most that a CPU showed at the block's ends. `migrations`: of the agent's threads,
    by the scheduler's count. `foreign`: settings that someone else changed.
    """

    steal_pct: float | None = None
    busy_pct: float | None = None
    frequency_mhz: tuple[int, int] | None = None
    throttles: int | None = None
    migrations: int | None = None
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment. `interrupts`: 'label' → CPU → count."""

    ticks: tuple[int, ...]
    frequencies: tuple[int, ...]
    throttles: int | None
    migrations: int | None
    interrupts: Mapping[str, Mapping[int, int]]


def read(tree: Tree, pids: tuple[int, ...]) -> Reading:
    return Reading(
        ticks=_ticks(tree),
        frequencies=tuple(_numbers(tree, f"{_CPUS}/cpufreq", "policy*/scaling_cur_freq")),
        throttles=_throttles(tree),
        migrations=_migrations(tree, pids),
        interrupts={_label(row.label, row.rest): row.counts for row in read_interrupt_rows(tree)},
    )


def between(before: Reading, after: Reading) -> Disturbances:
    spent = [now - then for now, then in zip(after.ticks, before.ticks, strict=False)]
    whole = sum(spent[:8])
    frequencies = (*before.frequencies, *after.frequencies)
    return Disturbances(
        steal_pct=100 * spent[7] / whole if whole and len(spent) >= 8 else None,
        busy_pct=100 * (1 - (spent[3] + spent[4]) / whole) if whole else None,
        frequency_mhz=(min(frequencies) // 1000, max(frequencies) // 1000) if frequencies else None,
        throttles=_change(before.throttles, after.throttles),
        migrations=_change(before.migrations, after.migrations),
    )


def interrupts(before: Reading, after: Reading) -> dict[str, dict[int, int]]:
    """How often each CPU took each interrupt; those that nobody took are left out."""
    found = {}
    for label, counts in after.interrupts.items():
        then = before.interrupts.get(label, {})
        moved = {cpu: count - then.get(cpu, 0) for cpu, count in counts.items()}
        if any(moved.values()):
            found[label] = {cpu: count for cpu, count in moved.items() if count > 0}
    return found


def _change(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _ticks(tree: Tree) -> tuple[int, ...]:
    """user, nice, system, idle, iowait, irq, softirq, steal of all CPUs (proc_stat(5))."""
    words = (tree.read("/proc/stat") or "").split("\n", 1)[0].split()
    return tuple(int(word) for word in words[1:9]) if words[:1] == ["cpu"] else ()


def _throttles(tree: Tree) -> int | None:
    counts = list(_numbers(tree, _CPUS, "cpu*/thermal_throttle/core_throttle_count"))
    return sum(counts) if counts else None


def _migrations(tree: Tree, pids: tuple[int, ...]) -> int | None:
    """Of all threads; None without CONFIG_SCHED_DEBUG."""
    found: int | None = None
    for pid in pids:
        for tid in tree.numbers(f"/proc/{pid}/task"):
            text = tree.read(f"/proc/{pid}/task/{tid}/sched") or ""
            match = re.search(r"^se\.nr_migrations\s*:\s*(\d+)", text, re.MULTILINE)
            if match:
                found = (found or 0) + int(match[1])
    return found


def _numbers(tree: Tree, folder: str, pattern: str) -> list[int]:
    paths = sorted(Path(tree.path(folder)).glob(pattern))
    texts = [tree.read(f"{folder}/{os.path.relpath(path, tree.path(folder))}") for path in paths]
    return [int(text) for text in texts if text and text.isdecimal()]


def _label(label: str, rest: str) -> str:
    """'24 virtio1-input.0', or 'LOC Local timer interrupts'."""
    return (
        f"{label} {rest.split()[-1]}" if label.isdecimal() and rest else f"{label} {rest}".strip()
    )
