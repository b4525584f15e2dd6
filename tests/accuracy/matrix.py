# SPDX-License-Identifier: GPL-2.0-only
"""Matrix: every kind of injection within one window, scored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from agenttune.measure.trace import Trace

from .kinds import kind_of
from .machine import is_slow
from .score import Verdict, judge
from .subject import COMM, Turn, compile_subject, run, setting, sizes
from .window import window

# Injections are this much larger on an emulated machine, whose every hand-over is slower.
SLOW_SCALE = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    turns: list[Turn]
    verdicts: list[Verdict]
    trace: Trace
    report: str


def measure(
    kinds: Iterable[str],
    count: int,
    seed: int,
    engine: str = "auto",
    beside: AbstractContextManager[object] | None = None,
) -> Outcome:
    """`count` injections of each kind, and the steps between that are left alone.

    `beside` is entered within the window, around all of them.
    """
    slow = is_slow()
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = setting(compile_subject(), slow)
        with window(folder, f"comm:{COMM}", engine) as followed, beside or nullcontext():
            for kind in map(kind_of, kinds):
                wanted = sizes(kind, count, seed, SLOW_SCALE if slow else 1)
                turns += run(where, kind, wanted, len(turns) + 1)
        trace = followed.trace()
    return Outcome(turns, judge(turns, trace), trace, followed.report)
