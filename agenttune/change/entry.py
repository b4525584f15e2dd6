# SPDX-License-Identifier: GPL-2.0-only
"""Entry: one change as the journal keeps it, with the transaction it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.policy.plan import Knob


class EntryState(StrEnum):
    """Where a change stands.

    intent: durable, perhaps written. applied: written and read back. failed: ours is still there,
    because restoring it failed. skipped: never written. reverted: the old value is back. foreign:
    someone else's value is there. gone: the target is no more. expired: the host booted since.
    """

    INTENT = "intent"
    APPLIED = "applied"
    FAILED = "failed"
    SKIPPED = "skipped"
    REVERTED = "reverted"
    FOREIGN = "foreign"
    GONE = "gone"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """A revert still has to look at it."""
        return self in _OPEN


_OPEN = frozenset({EntryState.INTENT, EntryState.APPLIED, EntryState.FAILED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one transaction.

    `observed` is what the knob showed after the write, None before. `place` is where it was then
    (an IRQ number, a path, a pid); `context` is the knob's own note. `note` says why an entry was
    skipped, failed or left.
    """

    seq: int
    knob: Knob
    label: str
    before: str
    wanted: str
    reason: str
    evidence: tuple[str, ...]
    state: EntryState
    observed: str | None = None
    place: str = ""
    context: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One applied plan.

    `made_at_s` is wall time, for people only. `deadline_ns` is CLOCK_BOOTTIME: unless it is
    `confirmed` by then, `timer` reverts it.
    """

    txn: int
    boot_id: str
    made_at_s: float
    profile: str
    entries: tuple[Entry, ...]
    deadline_ns: int | None = None
    timer: str = ""
    confirmed: bool = False

    @property
    def open_entries(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.state.is_open)

    @property
    def awaits_confirmation(self) -> bool:
        return self.deadline_ns is not None and not self.confirmed and bool(self.open_entries)
