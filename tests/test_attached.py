# SPDX-License-Identifier: GPL-2.0-only
"""What 'module attach' prints of the module's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from agenttune.attached import Followed, _report, follow
from agenttune.errors import HostError
from agenttune.host.module import DEBUGFS
from agenttune.host.selector import Selector
from agenttune.host.tree import Tree

AGENTS = """\
# 2 threads attached
tid=41 tgid=41 comm=agent cpu=1 steps=7 unseen_steps=0 completions=6 running=0 irqs=31,33
tid=99 tgid=99 comm=other cpu=2 steps=1 unseen_steps=0 completions=0 running=0 irqs=
"""
STEPS = """\
# 3 steps ended since load; the last 256 at most are here
step=1 tid=41 comm=agent name=search kind=tool ns=1200 completions=1 running=0 irq=31 \
softirq=NET_RX cpu=1 chain_ns=900
step=8 tid=99 comm=other name=- kind=other ns=5 completions=0 running=0 irq=-1 softirq=- cpu=2 \
chain_ns=0
step=2 tid=41 comm=agent name=- kind=other ns=50 completions=0 running=0 irq=-1 softirq=- cpu=1 \
chain_ns=0
"""


def report(root: Path, seen: Followed, **files: str) -> str:
    folder = root / DEBUGFS[1:]
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return _report(Tree(root), seen)


def test_only_what_was_attached_is_told(tmp_path: Path) -> None:
    text = report(tmp_path, Followed({41: "agent"}), agents=AGENTS, steps=STEPS)
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["1", "thread", "attached"]
    assert ["41", "1", "7", "6", "31,33"] in lines
    assert ["1", "search", "41", "tool", "1200", "1", "0", "31", "NET_RX", "1", "900"] in lines
    assert ["2", "-", "41", "other", "50", "0", "0", "-", "-", "1", "0"] in lines
    assert "99" not in text


def test_no_steps_and_refusals_are_told(tmp_path: Path) -> None:
    seen = Followed({42: "agent"}, {43: "Operation not permitted (EPERM)"})
    text = report(tmp_path, seen, agents="", steps=STEPS)
    assert "not attached: 43: Operation not permitted (EPERM)" in text
    assert "do they mark steps?" in text


def test_without_debugfs_that_is_told(tmp_path: Path) -> None:
    assert "may not read" in report(tmp_path, Followed({42: "agent"}))


def test_without_the_module_it_is_an_error() -> None:
    with pytest.raises(HostError, match="the module is not loaded") as caught:
        follow([Selector.parse("comm:x")], 1.0, lambda: True)
    assert "module load" in caught.value.hint
