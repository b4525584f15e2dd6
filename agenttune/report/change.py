# SPDX-License-Identifier: GPL-2.0-only
"""What was applied, what stands and what was put back, as text."""

from __future__ import annotations

from agenttune.change.apply import Applied
from agenttune.change.entry import Entry, EntryState
from agenttune.change.revert import Restoration, Reverted
from agenttune.change.verify import Condition, Item, Status
from agenttune.report.table import table


def applied_text(done: Applied, *, dry_run: bool = False) -> str:
    """One line per change with the value that was read back."""
    written = [item for item in done.items if item.entry.state is not EntryState.SKIPPED]
    skipped = [item for item in done.items if item.entry.state is EntryState.SKIPPED]
    parts = [_applied_head(done, len(written), dry_run=dry_run)]
    header = ("knob", "was", "now" if not dry_run else "would be", "effective")
    parts.append(table(header, (_applied_row(item, dry_run=dry_run) for item in written)))
    if skipped:
        parts.append(f"\nnot written ({len(skipped)}):\n")
        parts += [f"  {item.entry.knob}: {item.entry.note}\n" for item in skipped]
    if any(item.condition is Condition.PENDING for item in written):
        parts.append("\npending: the hardware follows at that vector's next interrupt\n")
    if done.confirm_within_s is not None and done.txn is not None:
        parts.append(
            f"\nthis is reverted in {done.confirm_within_s:g} s unless you run "
            "'agenttune confirm'\n"
        )
    return "".join(parts)


def _applied_head(done: Applied, written: int, *, dry_run: bool) -> str:
    if not written:
        return f"{done.profile}: nothing to write\n"
    plural = "s" if written > 1 else ""
    if dry_run:
        return f"{done.profile}: would write {written} value{plural}; nothing was written\n"
    return f"applied {done.profile}: {written} change{plural}, transaction {done.txn}\n"


def _applied_row(item: Item, *, dry_run: bool) -> tuple[object, ...]:
    now = item.entry.wanted if dry_run else item.current
    effective = "pending" if item.condition is Condition.PENDING else item.effective or "-"
    return item.entry.knob, _value(item.entry.before), _value(now), effective


def _value(text: str | None) -> str | None:
    """A knob's value in a cell; an empty mask is a value too."""
    return text if text != "" else "none"


def status_text(now: Status) -> str:
    """Every open change and whether it is still as it was applied."""
    if not now.items:
        return "nothing is applied\n"
    drifted = sum(item.condition is Condition.DRIFTED for item in now.items)
    parts = [f"{len(now.items)} changes are recorded, {drifted} drifted\n"]
    header = ("transaction", "knob", "was", "applied", "now", "state", "detail")
    parts.append(table(header, (_status_row(item) for item in now.items)))
    if now.awaiting is not None:
        parts.append(
            f"\ntransaction {now.awaiting} is reverted in {now.awaiting_s or 0:.0f} s unless you "
            "run 'agenttune confirm'\n"
        )
    return "".join(parts)


def _status_row(item: Item) -> tuple[object, ...]:
    entry: Entry = item.entry
    now = "-" if item.condition in {Condition.COVERED, Condition.EXPIRED} else _value(item.current)
    return (
        item.txn,
        entry.knob,
        _value(entry.before),
        _value(entry.wanted),
        now,
        item.condition,
        item.detail or "-",
    )


def reverted_text(done: Reverted, *, dry_run: bool = False) -> str:
    """Every change that was looked at, its outcome, and the audit's verdict."""
    if not done.restorations:
        return "nothing to revert\n"
    parts = ["would revert:\n" if dry_run else "reverted, newest first:\n"]
    header = ("transaction", "knob", "was", "shows now" if dry_run else "showed", "outcome")
    parts.append(table(header, (_restoration_row(each) for each in done.restorations)))
    details = [each for each in done.restorations if each.detail]
    if details:
        parts.append("\n")
        parts += [f"  {each.entry.knob}: {each.detail}\n" for each in details]
    if done.heirs:
        parts.append(
            f"\n{done.heirs} tasks that had inherited a pinned mask got the old one back\n"
        )
    if not dry_run:
        left = "every value is as it was" if not done.exit_code else "NOT everything is as it was"
        parts.append(f"\naudit: {left}\n")
    return "".join(parts)


def _restoration_row(each: Restoration) -> tuple[object, ...]:
    return (
        each.txn,
        each.entry.knob,
        _value(each.entry.before),
        "-" if each.current is None else _value(each.current),
        each.outcome,
    )
