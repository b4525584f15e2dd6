# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt path's x86 state, from the module's debugfs file (kmod/x86_state.h)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agenttune.host.host import X86Cpu, X86State, X86Vector
from agenttune.host.module import DEBUGFS
from agenttune.host.tree import Tree

X86_FILE = f"{DEBUGFS}/x86"
_HEAD = "agent_latency x86 "
_OCTAL = re.compile(r"\\([0-7]{3})")


def read_x86_state(tree: Tree) -> X86State | None:
    """None without the module, for others than root, and for a format that is not known."""
    lines = [line.decode("utf-8", "replace").rstrip("\n") for line in tree.lines(X86_FILE)]
    if not lines or not lines[0].startswith(_HEAD):
        return None
    withheld = ""
    by_cpu: dict[int, list[tuple[str, str]]] = {}
    for line in lines[1:]:
        words = line.split(" ", 3)
        if words[:2] == ["addresses", "withheld"]:
            withheld = " ".join(words[2:]) or "unknown reason"
        elif words[0] == "cpu" and len(words) == 4 and words[1].isdecimal():
            by_cpu.setdefault(int(words[1]), []).append((words[2], words[3]))
    cpus = tuple(_cpu(cpu, facts) for cpu, facts in sorted(by_cpu.items()))
    return X86State(withheld, cpus)


def _cpu(cpu: int, facts: Iterable[tuple[str, str]]) -> X86Cpu:
    entry = ""
    fields: dict[str, dict[str, str]] = {}
    vectors: list[X86Vector] = []
    sets: dict[str, list[str]] = {"irr": [], "isr": []}
    for what, rest in facts:
        if what == "entry":
            entry = rest
        elif what == "vector":
            vectors += _vector(rest)
        elif what in sets:
            sets[what].append(_plain(rest))
        else:
            fields[what] = dict(word.split("=", 1) for word in rest.split() if "=" in word)
    return X86Cpu(cpu, entry, fields, tuple(vectors), tuple(sets["irr"]), tuple(sets["isr"]))


def _vector(rest: str) -> list[X86Vector]:
    """'0x22 irq 35 virtio2-input.0'; the names may hold spaces."""
    match = re.fullmatch(r"0x([0-9a-f]{1,2}) irq ([0-9]{1,9}) (.*)", rest)
    return [X86Vector(int(match[1], 16), int(match[2]), _plain(match[3]))] if match else []


def _plain(text: str) -> str:
    """Text with its octal escapes undone."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
