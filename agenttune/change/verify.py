# SPDX-License-Identifier: GPL-2.0-only
"""Verify: compare what was applied with what the host shows now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from agenttune.change.entry import Entry
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.change.knobs.registry import OPS
from agenttune.errors import ExitCode, HostError
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Writer
from agenttune.host.tasks import read_comms
from agenttune.host.writers import read_writers
from agenttune.policy.plan import Knob, KnobKind

_LOOKS = 5

Writers = Callable[[], tuple[Writer, ...]]


class Condition(StrEnum):
    """What a change looks like now.

    applied: our value is there. pending: it is, but the hardware uses the old one until the next
    interrupt. unwritten: the old value is there. drifted: someone else's is. gone: the target is
    not there. covered: a newer transaction changed the same knob. skipped: never written.
    expired: made before the last boot, which took it away. unreadable: the value cannot be read.
    """

    APPLIED = "applied"
    PENDING = "pending"
    UNWRITTEN = "unwritten"
    DRIFTED = "drifted"
    GONE = "gone"
    COVERED = "covered"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"


_WRONG = frozenset({Condition.DRIFTED, Condition.GONE, Condition.UNWRITTEN, Condition.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Item:
    """One change beside what the host shows; None where nothing was read.

    `detail` says who may have changed a drifted value, or why one is gone or unreadable.
    """

    txn: int
    entry: Entry
    condition: Condition
    current: str | None = None
    effective: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that a revert would look at, newest first.

    `awaiting` is the transaction that waits for 'agenttune confirm'; it has `awaiting_s` left.
    """

    boot_id: str
    items: tuple[Item, ...]
    awaiting: int | None = None
    awaiting_s: float | None = None

    @property
    def exit_code(self) -> ExitCode:
        """MISMATCH when a change is not as it was applied."""
        wrong = any(item.condition in _WRONG for item in self.items)
        return ExitCode.MISMATCH if wrong else ExitCode.OK


def status(kernel: Kernel, journal: Journal | None) -> Status:
    """Look at every open change. A knob that cannot be read becomes an item, not an error."""
    kernel.irq_hints.clear()
    boot_id = kernel.boot_id()
    writers = cache(lambda: _active_writers(kernel))
    items: list[Item] = []
    seen: set[Knob] = set()
    made_open = journal.open_transactions() if journal else ()
    for made in reversed(made_open):
        for entry in reversed(made.open_entries):
            if made.boot_id != boot_id:
                items.append(Item(made.txn, entry, Condition.EXPIRED))
            elif entry.knob in seen:
                items.append(Item(made.txn, entry, Condition.COVERED))
            else:
                items.append(_look(kernel, made.txn, entry, writers))
            seen.add(entry.knob)
    for made in made_open:
        if made.deadline_ns is not None and not made.confirmed and made.boot_id == boot_id:
            left_s = max(0.0, (made.deadline_ns - kernel.now_ns()) / 1e9)
            return Status(boot_id, tuple(items), made.txn, left_s)
    return Status(boot_id, tuple(items))


def is_ours(ops: KnobOps, entry: Entry, current: str) -> bool:
    """Whether `current` is what writing `entry` made of the knob."""
    if entry.observed is not None:
        return current == entry.observed
    return ops.accepts(entry.wanted, current)


def landing(wanted: str, effective: str | None) -> Condition:
    """APPLIED once the hardware follows the mask `wanted`, PENDING before."""
    if effective is None or effective == wanted:
        return Condition.APPLIED
    if CpuMask.parse_list(effective) <= CpuMask.parse_list(wanted):
        return Condition.APPLIED
    return Condition.PENDING


def read_settled(kernel: Kernel, ops: KnobOps, place: str, good: Callable[[str], bool]) -> str:
    """What the knob shows; looked at again, a few times, while that is not `good`.

    A vector in the middle of a move shows its old mask for a moment: irq_move_irq() takes the
    pending mask away before the chip has the new one (kernel/irq/migration.c, v6.12).
    """
    for _ in range(_LOOKS - 1):
        current = ops.read(kernel, place)
        if good(current):
            return current
        time.sleep(kernel.look_again_s)
    return ops.read(kernel, place)


def _look(kernel: Kernel, txn: int, entry: Entry, writers: Writers) -> Item:
    ops = OPS[entry.knob.kind]
    try:
        place = ops.locate(kernel, entry.knob.target)
        if entry.context and not ops.survives(kernel, place, entry.context):
            return Item(txn, entry, Condition.GONE, detail=f"it was set up again as {place}")
        current = read_settled(kernel, ops, place, lambda seen: is_ours(ops, entry, seen))
        effective = ops.effective(kernel, place)
    except TargetGone as error:
        return Item(txn, entry, Condition.GONE, detail=error.message)
    except (HostError, OSError, ValueError) as error:
        return Item(txn, entry, Condition.UNREADABLE, detail=str(error))
    if is_ours(ops, entry, current):
        return Item(txn, entry, landing(entry.wanted, effective), current, effective)
    if current == ops.natural(kernel, place):
        return Item(txn, entry, Condition.APPLIED, current, effective)
    condition = Condition.UNWRITTEN if current == entry.before else Condition.DRIFTED
    return Item(txn, entry, condition, current, effective, _suspect(entry, place, writers))


def _suspect(entry: Entry, place: str, writers: Writers) -> str:
    if entry.knob.kind is KnobKind.VECTOR_AFFINITY and entry.place not in {"", place}:
        return f"the driver set the device up again: irq {entry.place} is now {place}"
    suspects = (writer for writer in writers() if entry.knob.kind in writer.writes)
    return "; ".join(f"{writer.name} is active ({writer.detail})" for writer in suspects)


def _active_writers(kernel: Kernel) -> tuple[Writer, ...]:
    found = read_writers(kernel.tree, read_comms(kernel.tree))
    return tuple(writer for writer in found if writer.active)
