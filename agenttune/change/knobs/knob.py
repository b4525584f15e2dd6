# SPDX-License-Identifier: GPL-2.0-only
"""KnobOps: what change/ needs to know of one kind of knob, as functions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from agenttune.change.kernel import Kernel
from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Knob, Plan


class TargetGone(HostError):
    """The device, queue, task or daemon that a knob belongs to is not there."""


@lru_cache
def canonical_mask(value: str) -> str:
    """A plan of thousands of changes has few masks."""
    return str(CpuMask.parse_list(value))


def _nothing(_kernel: Kernel, _place: str) -> str:
    return ""


def _no_effective(_kernel: Kernel, _place: str) -> str | None:
    return None


def _same(_kernel: Kernel, _place: str, _context: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class KnobOps:
    """The functions of one kind. Values are canonical text (see KnobKind); OSError passes through.

    locate(kernel, target): where the target is now, checked afresh; raises TargetGone.
    read(kernel, place), write(kernel, place, value): both return what the knob shows; `write` of an
    earlier `read` is the inverse.
    accepts(wanted, observed): may a read after writing `wanted` show `observed`?
    canonical(value): the one spelling of a planned value; raises ValueError for nonsense.
    effective(kernel, place): what the hardware uses, None where the kernel does not tell.
    movable(kernel, place): False when the kernel's own mode bits say that nobody may write.
    context(kernel, place): kept in the journal; survives(kernel, place, context) says at revert
    whether the value could have outlived what happened since.
    natural(kernel, place): a value that the kernel itself may have put in place of ours.
    rebase(kernel, current, plan): for a value that adds to what is there, the value to write.
    dies_with_target: a vanished target took our value with it, so nothing is left to undo.
    provider: the change that makes the target appear; while a value of ours on it stays, that
    change is not undone.
    """

    locate: Callable[[Kernel, str], str]
    read: Callable[[Kernel, str], str]
    write: Callable[[Kernel, str, str], str]
    accepts: Callable[[str, str], bool] = operator.eq
    canonical: Callable[[str], str] = canonical_mask
    effective: Callable[[Kernel, str], str | None] = _no_effective
    movable: Callable[[Kernel, str], bool] | None = None
    context: Callable[[Kernel, str], str] = _nothing
    survives: Callable[[Kernel, str, str], bool] = _same
    natural: Callable[[Kernel, str], str | None] = _no_effective
    rebase: Callable[[Kernel, str, Plan], str] | None = None
    dies_with_target: bool = False
    provider: Knob | None = None
