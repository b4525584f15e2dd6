# SPDX-License-Identifier: GPL-2.0-only
"""Apply: carry a plan out as one transaction, or leave the host as it was."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agenttune.change import timer
from agenttune.change.classify import Cause, classify, unmovable
from agenttune.change.entry import Entry, EntryState, Transaction
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.change.knobs.registry import OPS
from agenttune.change.revert import Reverted, record, restore, undo
from agenttune.change.verify import Condition, Item, landing, read_settled
from agenttune.errors import (
    ApplyError,
    ExitCode,
    HostError,
    InputError,
    JournalError,
    RevertIncomplete,
)
from agenttune.policy.plan import Change, Knob, Plan

_REPLAN = "Plan again, and apply the new plan."
_SHOWN_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """What apply did, or for a preview would do.

    `txn` None: nothing was written. `items` has one for each change of the plan, in order.
    `confirm_within_s`: 'agenttune confirm' must come in time; None when it need not.
    """

    profile: str
    txn: int | None
    items: tuple[Item, ...]
    confirm_within_s: float | None = None


def apply(
    plan: Plan, kernel: Kernel, journal: Journal, *, confirm_within_s: float | None = None
) -> Applied:
    """Write every change of `plan` that is not there already, each after its durable intent.

    What the kernel keeps to itself, tasks that have ended and optional changes that the host
    refuses are skipped, and the rest goes on.
    Any other failure, Ctrl-C too, undoes what this call wrote before it raises: ApplyError (also
    for a plan that no longer fits the host, before anything is written), JournalError, HostError;
    RevertIncomplete when something could not be undone.
    """
    kernel.require_privilege()
    boot_id = kernel.boot_id()
    _refuse_unfinished(kernel, journal, boot_id)
    entries = _prepare(plan, kernel)
    if not any(entry.state is EntryState.INTENT for entry in entries):
        return Applied(plan.profile, None, _items(0, entries))
    deadline_ns = None
    if confirm_within_s is not None:
        deadline_ns = kernel.now_ns() + int(confirm_within_s * 1e9)
    draft = Transaction(0, boot_id, time.time(), plan.profile, entries, deadline_ns)
    made = journal.begin(draft)
    items: list[Item] = []
    try:
        if deadline_ns is not None:
            name = timer.arm(kernel, journal.path.parent, made.txn, deadline_ns)
            journal.update(replace(made, timer=name))
        for entry in entries:
            items.append(_write_or_skip(kernel, made.txn, entry, plan.changes[entry.seq]))
            _refuse_alteration(items[-1].entry)
        journal.settle(made.txn, [item.entry for item in items])
    except BaseException as error:
        _roll_back(kernel, journal, _so_far(journal.transaction(made.txn), items), error)
        raise
    return Applied(plan.profile, made.txn, tuple(items), confirm_within_s)


def preview(plan: Plan, kernel: Kernel) -> Applied:
    """What apply() would write, by reading alone. Raises what apply() would before writing."""
    return Applied(plan.profile, None, _items(0, _prepare(plan, kernel)))


def _refuse_unfinished(kernel: Kernel, journal: Journal, boot_id: str) -> None:
    for made in journal.open_transactions():
        if made.boot_id != boot_id:
            undo(kernel, journal, made, set())
        elif made.awaits_confirmation:
            raise ApplyError(
                f"transaction {made.txn} ({made.profile}) still waits for confirmation",
                hint="Run 'agenttune confirm' to keep it or 'agenttune revert' to undo it first.",
            )
        elif any(entry.state is not EntryState.APPLIED for entry in made.open_entries):
            raise ApplyError(
                f"transaction {made.txn} ({made.profile}) was interrupted or not fully undone",
                hint="Run 'agenttune revert' first.",
            )


def _prepare(plan: Plan, kernel: Kernel) -> tuple[Entry, ...]:
    """Read every knob. Raises ApplyError, before anything is written, for a stale plan."""
    kernel.irq_hints.clear()
    boot_id = kernel.boot_id()
    if plan.boot_id not in (None, boot_id):
        raise ApplyError("the plan was made on another boot or another machine", hint=_REPLAN)
    entries: list[Entry] = []
    stale: list[str] = []
    seen: set[Knob] = set()
    coming: set[Knob] = set()
    for seq, change in enumerate(plan.changes):
        if change.knob in seen:
            raise InputError(f"the plan changes {change.knob} twice", hint=_REPLAN)
        seen.add(change.knob)
        try:
            entries.append(_draft(plan, kernel, seq, change, coming))
            if entries[-1].state is EntryState.INTENT:
                coming.add(change.knob)
        except _StaleError as error:
            stale.append(str(error))
    if stale:
        more = f"\n  and {len(stale) - _SHOWN_AT_MOST} more" if len(stale) > _SHOWN_AT_MOST else ""
        shown = "\n  ".join(stale[:_SHOWN_AT_MOST])
        raise ApplyError(
            f"the host changed since the plan was made:\n  {shown}{more}", hint=_REPLAN
        )
    return tuple(entries)


class _StaleError(Exception):
    """One change whose plan no longer fits."""


def _draft(plan: Plan, kernel: Kernel, seq: int, change: Change, coming: Container[Knob]) -> Entry:
    """`coming`: the earlier changes that will be written, which may make this target appear."""
    ops = OPS[change.knob.kind]
    entry = _entry(seq, change)
    try:
        place = ops.locate(kernel, change.knob.target)
        current = ops.read(kernel, place)
        wanted = ops.rebase(kernel, current, plan) if ops.rebase else entry.wanted
        if current == wanted:
            return replace(entry, note="it is so already")
        if ops.movable is not None and not ops.movable(kernel, place):
            refusal = unmovable(change.knob)
            return replace(entry, note=f"{refusal}. {refusal.remedy}")
        context = ops.context(kernel, place)
    except TargetGone as error:
        if ops.provider in coming:
            return replace(entry, state=EntryState.INTENT)
        if ops.dies_with_target:
            return replace(entry, note=error.message)
        raise _StaleError(f"{change.knob}: {error.message}") from error
    except OSError as error:
        refusal = classify(change.knob, error)
        raise ApplyError(f"{change.knob} cannot be read: {refusal}", hint=refusal.remedy) from error
    if ops.rebase is None and current != entry.before:
        raise _StaleError(f"{change.knob} shows {current!r}, the plan has {entry.before!r}")
    return replace(
        entry,
        state=EntryState.INTENT,
        before=current,
        wanted=wanted,
        place=place,
        context=context,
    )


def _entry(seq: int, change: Change) -> Entry:
    canonical = OPS[change.knob.kind].canonical
    try:
        before, wanted = canonical(change.before), canonical(change.wanted)
    except ValueError as error:
        raise InputError(f"the plan's {change.knob}: {error}", hint=_REPLAN) from error
    return Entry(
        seq=seq,
        knob=change.knob,
        label=change.label,
        before=before,
        wanted=wanted,
        reason=change.reason,
        evidence=change.evidence,
        state=EntryState.SKIPPED,
    )


def _write_or_skip(kernel: Kernel, txn: int, entry: Entry, change: Change) -> Item:
    try:
        return _write(kernel, txn, entry)
    except (ApplyError, HostError) as error:
        if not change.optional:
            raise
        return _skipped(txn, entry, f"{error.message}. {error.hint}")


def _write(kernel: Kernel, txn: int, entry: Entry) -> Item:
    """Write one change and read it back. Raises ApplyError when the write fails."""
    if entry.state is not EntryState.INTENT:
        return Item(txn, entry, Condition.SKIPPED)
    ops = OPS[entry.knob.kind]
    try:
        place = ops.locate(kernel, entry.knob.target)
        if not entry.place:
            entry = _arrived(kernel, ops, place, entry)
        ops.write(kernel, place, entry.wanted)
        observed = read_settled(kernel, ops, place, lambda s: ops.accepts(entry.wanted, s))
        effective = ops.effective(kernel, place)
    except TargetGone as error:
        if not ops.dies_with_target:
            raise ApplyError(f"{entry.label}: {error.message}", hint=_REPLAN) from error
        return _skipped(txn, entry, error.message)
    except OSError as error:
        refusal = classify(entry.knob, error)
        if refusal.unmovable or (refusal.cause is Cause.GONE and ops.dies_with_target):
            return _skipped(txn, entry, f"{refusal}. {refusal.remedy}")
        what = f"{entry.label}: writing {entry.wanted!r} to {entry.knob} failed: {refusal}"
        raise ApplyError(what, hint=refusal.remedy) from error
    done = replace(entry, state=EntryState.APPLIED, observed=observed, place=place)
    return Item(txn, done, landing(entry.wanted, effective), observed, effective)


def _arrived(kernel: Kernel, ops: KnobOps, place: str, entry: Entry) -> Entry:
    """An entry whose target an earlier change of the plan made; nobody could read it before.

    Its durable intent has what the plan expects there. Killed before the result is recorded, it is
    undone with that, and so is what made the target.
    """
    before, context = ops.read(kernel, place), ops.context(kernel, place)
    return replace(entry, before=before, context=context)


def _refuse_alteration(entry: Entry) -> None:
    observed = entry.observed
    if observed is not None and not OPS[entry.knob.kind].accepts(entry.wanted, observed):
        raise ApplyError(
            f"{entry.label}: wrote {entry.wanted!r} to {entry.knob}, but it shows {observed!r}",
            hint="The kernel may limit this value, or something else writes it at the same time.",
        )


def _so_far(made: Transaction, items: Sequence[Item]) -> Transaction:
    """The intents, with what was seen of those that were written."""
    seen = {item.entry.seq: item.entry.observed for item in items}
    entries = (replace(entry, observed=seen.get(entry.seq)) for entry in made.entries)
    return replace(made, entries=tuple(entries))


def _skipped(txn: int, entry: Entry, note: str) -> Item:
    return Item(txn, replace(entry, state=EntryState.SKIPPED, note=note), Condition.SKIPPED)


def _items(txn: int, entries: Iterable[Entry]) -> tuple[Item, ...]:
    return tuple(
        Item(txn, entry, Condition.SKIPPED)
        if entry.state is EntryState.SKIPPED
        else Item(txn, entry, Condition.UNWRITTEN, entry.before)
        for entry in entries
    )


def _roll_back(kernel: Kernel, journal: Journal, made: Transaction, error: BaseException) -> None:
    """Undo a failed apply. Returns when the host is as before and that is recorded."""
    done = restore(kernel, made, set())
    if done.exit_code is not ExitCode.OK:
        with suppress(JournalError):
            record(journal, made, done)
        raise RevertIncomplete(
            f"{error or 'interrupted'}\nundoing what was written is not complete:\n  {_left(done)}",
            hint="See 'agenttune status', then run 'agenttune revert' to try again.",
        ) from error
    try:
        record(journal, made, done)
    except JournalError as trouble:
        raise JournalError(
            f"{trouble.message}; every knob that was written is restored",
            hint=f"{trouble.hint} Then run 'agenttune revert' to settle the record.",
        ) from error


def _left(done: Reverted) -> str:
    left = (each for each in done.restorations if each.detail)
    return "\n  ".join(f"{each.entry.label}: {each.outcome}: {each.detail}" for each in left)
