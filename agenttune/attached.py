# SPDX-License-Identifier: GPL-2.0-only
"""Attached: agents that do not attach themselves, held attached to the module for a while."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agenttune.attach import DEVICE, Files
from agenttune.errors import HostError
from agenttune.host.module import DEBUGFS
from agenttune.host.selector import Selector
from agenttune.host.tasks import find_tasks_in
from agenttune.host.tree import Tree
from agenttune.report.table import table

POLL_S = 0.1
_SHOWN_STEPS = 10
_AGENT_COLUMNS = ("tid", "cpu", "steps", "completions", "irqs")
_COLUMNS = (
    *("step", "name", "tid", "kind", "ns"),
    *("completions", "running", "irq", "softirq", "cpu", "chain_ns"),
)


@dataclass
class Followed:
    """The threads that were attached, those refused and why, and the module's words at the end."""

    attached: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    text: str = ""


def follow(
    selectors: Sequence[Selector], seconds: float | None, stop: Callable[[], bool]
) -> Followed:
    """Attach every thread that the selectors choose, new ones as they come, until the end.

    `seconds` None: until `stop`. Raises HostError when the module is not there, or refuses all.
    """
    tree = Tree(Path("/"))
    if not tree.exists(DEVICE):
        raise HostError(
            f"there is no {DEVICE}: the module is not loaded",
            hint="Load it with 'agenttune module load' or through a profile.",
        )
    files, seen = Files(), Followed()
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while not stop() and (end is None or time.monotonic() < end):
            _attach_new(tree, selectors, files, seen)
            time.sleep(POLL_S)
        seen.text = _report(tree, seen)
    finally:
        files.close()
    if seen.refused and not seen.attached:
        tid, why = next(iter(seen.refused.items()))
        raise HostError(
            f"no thread could be attached; {tid}: {why}",
            hint="Other users' threads need root; a thread can be attached once.",
        )
    return seen


def _attach_new(tree: Tree, selectors: Sequence[Selector], files: Files, seen: Followed) -> None:
    tasks = find_tasks_in(tree, selectors)
    files.forget({task.pid for task in tasks})
    for task in tasks:
        if task.pid in files.attached() or task.pid in seen.refused:
            continue
        try:
            files.attach(task.pid)
            seen.attached[task.pid] = task.comm
        except OSError as error:
            if error.errno != errno.ESRCH:  # it ended meanwhile
                name = errno.errorcode.get(error.errno or 0, "")
                seen.refused[task.pid] = f"{error.strerror} ({name})"


def _report(tree: Tree, seen: Followed) -> str:
    count = len(seen.attached)
    parts = [f"{count} thread{'s' if count != 1 else ''} attached\n"]
    parts += [f"  not attached: {tid}: {why}\n" for tid, why in sorted(seen.refused.items())]
    agents = [_pairs(line) for line in tree.lines(f"{DEBUGFS}/agents")]
    ours = [found for found in agents if _is_ours(found, seen)]
    parts.append(_rows(_AGENT_COLUMNS, ours))
    steps = [_pairs(line) for line in tree.lines(f"{DEBUGFS}/steps")]
    ended = [found for found in steps if _is_ours(found, seen)][-_SHOWN_STEPS:]
    if ended:
        parts.append(f"\nthe last {len(ended)} steps that ended\n")
        parts.append(_rows(_COLUMNS, ended))
    elif not tree.exists(f"{DEBUGFS}/steps"):
        parts.append(f"\nsteps are told in {DEBUGFS}, which this user may not read\n")
    else:
        parts.append("\nno step of theirs ended meanwhile: do they mark steps?\n")
    return "".join(parts)


def _rows(columns: Sequence[str], found: Sequence[dict[str, str]]) -> str:
    """-1 is the module's word for 'none'."""
    rows = ([each.get(name) for name in columns] for each in found)
    return table(columns, ([("-" if cell == "-1" else cell) for cell in row] for row in rows))


def _is_ours(found: dict[str, str], seen: Followed) -> bool:
    return found.get("tid", "").isdecimal() and int(found["tid"]) in seen.attached


def _pairs(line: bytes) -> dict[str, str]:
    """A line of 'key=value' words; comments have none."""
    words = line.decode(errors="replace").split()
    return dict(word.split("=", 1) for word in words if "=" in word)
