# SPDX-License-Identifier: GPL-2.0-only
"""Choice: the steps that the user asked for, among those of a trace."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agenttune.errors import InputError
from agenttune.measure.trace import Step

# Enough to recognise the step one meant.
CANDIDATES = 5

_STEP_ID = re.compile(r"(?:(\d{1,10}):)?(\d{1,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class StepId:
    """A step's id, and its process where ids of several meet."""

    id: int
    tgid: int | None = None

    @classmethod
    def parse(cls, text: str) -> StepId:
        """From 'ID' or 'TGID:ID'. Raises InputError."""
        found = _STEP_ID.fullmatch(text)
        if not found or not 0 < int(found[2]) < 1 << 64:
            raise InputError(
                f"{text[:40]!r} is not a step",
                hint="Give ID or TGID:ID; ids are whole numbers above 0.",
            )
        return cls(int(found[2]), int(found[1]) if found[1] else None)

    def __str__(self) -> str:
        return str(self.id) if self.tgid is None else f"{self.tgid}:{self.id}"

    def matches(self, step: Step) -> bool:
        return step.id == self.id and self.tgid in (None, step.tgid)


Select = Callable[[Iterable[Step]], tuple[Step, ...]]


def slowest(count: int) -> Select:
    """Chooses the `count` steps that took longest, the longest first."""

    def select(steps: Iterable[Step]) -> tuple[Step, ...]:
        return tuple(heapq.nlargest(count, steps, key=lambda step: step.duration_ns))

    return select


def only(wanted: StepId) -> Select:
    """Chooses one step; the slowest where its process used the id again.

    The choice raises InputError, with candidates, when there is none or several processes have it.
    """

    def select(steps: Iterable[Step]) -> tuple[Step, ...]:
        matching: dict[int, Step] = {}
        others: list[tuple[int, int, Step]] = []
        for index, step in enumerate(steps):
            if not wanted.matches(step):
                _keep_slowest(others, (step.duration_ns, index, step))
            elif step.tgid not in matching or step.duration_ns > matching[step.tgid].duration_ns:
                matching[step.tgid] = step
        if len(matching) == 1:
            return tuple(matching.values())
        if matching:
            raise _ambiguous(wanted, matching.values())
        raise _absent(wanted, [step for _, _, step in sorted(others, reverse=True)])

    return select


def _keep_slowest(heap: list[tuple[int, int, Step]], entry: tuple[int, int, Step]) -> None:
    if len(heap) < CANDIDATES:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _ambiguous(wanted: StepId, found: Iterable[Step]) -> InputError:
    steps = sorted(found, key=lambda step: step.tgid)
    shown = ", ".join(_shown(step) for step in steps[:CANDIDATES])
    return InputError(
        f"{len(steps)} processes have a step {wanted}",
        hint=f"Give --step TGID:ID, one of: {shown}.",
    )


def _absent(wanted: StepId, slow: list[Step]) -> InputError:
    if not slow:
        return InputError(
            f"no step {wanted}: the record holds no steps",
            hint="Record for longer, or other agents.",
        )
    shown = ", ".join(map(_shown, slow))
    return InputError(f"no step {wanted} in this record", hint=f"Its slowest steps are {shown}.")


def _shown(step: Step) -> str:
    name = "".join(c if c.isprintable() else "?" for c in step.name or step.comm)
    return f"{step.tgid}:{step.id} ({name}, {step.duration_ns / 1e6:.2f} ms)"
