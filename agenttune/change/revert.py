# SPDX-License-Identifier: GPL-2.0-only
"""Revert: put old values back, newest first, leaving what others changed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from agenttune.change import timer
from agenttune.change.classify import classify
from agenttune.change.entry import Entry, EntryState, Transaction
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs import task
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.change.knobs.registry import OPS
from agenttune.change.verify import is_ours, read_settled
from agenttune.errors import ExitCode, HostError
from agenttune.policy.plan import Knob, KnobKind


class Outcome(StrEnum):
    """What revert did with one change.

    restored: the old value is back, and was read back. unchanged: it was there already.
    foreign: neither old nor ours is there; left alone. gone: the device or queue is not there.
    died: the task, daemon or interface took our value with it. expired: the host booted since.
    failed: the write failed; the entry stays for another try. blocked: a newer change, or a value
    that needs this one, is still there; the entry stays too.
    """

    RESTORED = "restored"
    UNCHANGED = "unchanged"
    FOREIGN = "foreign"
    GONE = "gone"
    DIED = "died"
    EXPIRED = "expired"
    FAILED = "failed"
    BLOCKED = "blocked"


_INCOMPLETE = frozenset({Outcome.FOREIGN, Outcome.GONE, Outcome.FAILED, Outcome.BLOCKED})
_STATES = {
    Outcome.RESTORED: EntryState.REVERTED,
    Outcome.UNCHANGED: EntryState.REVERTED,
    Outcome.FOREIGN: EntryState.FOREIGN,
    Outcome.GONE: EntryState.GONE,
    Outcome.DIED: EntryState.GONE,
    Outcome.EXPIRED: EntryState.EXPIRED,
    Outcome.FAILED: EntryState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Restoration:
    """One change and its outcome; `current` is what the host showed before, None if unread."""

    txn: int
    entry: Entry
    outcome: Outcome
    current: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reverted:
    """Everything a revert looked at, in the order it did. `heirs` counts tasks that had inherited
    the mask of a pinned one and got its old mask too."""

    restorations: tuple[Restoration, ...]
    heirs: int = 0

    @property
    def exit_code(self) -> ExitCode:
        incomplete = any(each.outcome in _INCOMPLETE for each in self.restorations)
        return ExitCode.REVERT_INCOMPLETE if incomplete else ExitCode.OK


def revert(
    kernel: Kernel, journal: Journal, only: Container[KnobKind] = frozenset(KnobKind)
) -> Reverted:
    """Undo every open transaction, or its changes of some kinds. Idempotent; a killed one is
    finished by the next.

    Raises HostError without privilege, JournalError when the outcome cannot be recorded.
    """
    kernel.require_privilege()
    kernel.irq_hints.clear()
    done: list[Restoration] = []
    heirs = 0
    blocked: set[Knob] = set()
    for made in reversed(journal.open_transactions()):
        undone = undo(kernel, journal, _part(made, only), blocked)
        done += undone.restorations
        heirs += undone.heirs
    return Reverted(tuple(done), heirs)


def _part(made: Transaction, only: Container[KnobKind]) -> Transaction:
    """The changes of these kinds; the timer stays as long as there are others."""
    chosen = tuple(entry for entry in made.entries if entry.knob.kind in only)
    whole = {entry.seq for entry in made.open_entries} <= {entry.seq for entry in chosen}
    return replace(made, entries=chosen, timer=made.timer if whole else "")


def preview(
    kernel: Kernel, journal: Journal | None, only: Container[KnobKind] = frozenset(KnobKind)
) -> Reverted:
    """What revert() would do now, by reading alone."""
    kernel.irq_hints.clear()
    boot_id = kernel.boot_id()
    assumed: dict[Knob, str] = {}
    blocked: set[Knob] = set()
    done: list[Restoration] = []
    for made in reversed(journal.open_transactions() if journal else ()):
        for entry in reversed(_part(made, only).open_entries):
            if made.boot_id != boot_id:
                done.append(Restoration(made.txn, entry, Outcome.EXPIRED))
                continue
            found = _blocked(made.txn, entry, blocked) or _judge(
                kernel, made.txn, entry, assumed.get(entry.knob)
            )
            _block(found, blocked)
            if found.outcome is Outcome.RESTORED:
                assumed[entry.knob] = entry.before
            done.append(found)
    return Reverted(tuple(done))


def undo(kernel: Kernel, journal: Journal, made: Transaction, blocked: set[Knob]) -> Reverted:
    """Undo one transaction and record it. `blocked`: knobs whose newer change is still there."""
    done = restore(kernel, made, blocked)
    record(journal, made, done)
    return done


def restore(kernel: Kernel, made: Transaction, blocked: set[Knob]) -> Reverted:
    """The half of undo() that writes knobs; adds to `blocked` what it could not restore."""
    heirs = 0
    if made.boot_id != kernel.boot_id():
        done = [Restoration(made.txn, e, Outcome.EXPIRED) for e in reversed(made.open_entries)]
    else:
        done = []
        for entry in reversed(made.open_entries):
            found = _restore(kernel, made.txn, entry, blocked)
            # What provides it may be the next to go: later there is nothing to read.
            done.append(_audit(kernel, found) if _is_provided(entry) else found)
            _block(done[-1], blocked)
        heirs = task.restore_heirs(kernel, _pins(made.entries))
        done = [each if _is_provided(each.entry) else _audit(kernel, each) for each in done]
        blocked |= {each.entry.knob for each in done if each.outcome is Outcome.FAILED}
    return Reverted(tuple(done), heirs)


def record(journal: Journal, made: Transaction, done: Reverted) -> None:
    """The half of undo() that writes the journal; the timer has nothing left to do after it."""
    journal.settle(made.txn, [_settled(each) for each in done.restorations])
    if made.timer:
        timer.cancel(made.timer)


def _restore(kernel: Kernel, txn: int, entry: Entry, blocked: set[Knob]) -> Restoration:
    found = _blocked(txn, entry, blocked) or _judge(kernel, txn, entry, None)
    return _write_back(kernel, found) if found.outcome is Outcome.RESTORED else found


def _blocked(txn: int, entry: Entry, blocked: Container[Knob]) -> Restoration | None:
    if entry.knob not in blocked:
        return None
    detail = "a newer change of it, or a value that needs it, is still in place"
    return Restoration(txn, entry, Outcome.BLOCKED, detail=detail)


def _is_provided(entry: Entry) -> bool:
    return OPS[entry.knob.kind].provider is not None


def _block(found: Restoration, blocked: set[Knob]) -> None:
    """Someone's value on a target keeps what made the target: undoing that would take it away."""
    provider = OPS[found.entry.knob.kind].provider
    if provider is not None and found.outcome in {Outcome.FOREIGN, Outcome.FAILED}:
        blocked.add(provider)


def _judge(kernel: Kernel, txn: int, entry: Entry, assumed: str | None) -> Restoration:
    """The three-way decision; RESTORED stands for 'ours is there, restore it'."""
    ops = OPS[entry.knob.kind]
    try:
        place = ops.locate(kernel, entry.knob.target)
        if entry.context and not ops.survives(kernel, place, entry.context):
            return Restoration(txn, entry, Outcome.DIED, detail="the target was set up again")
        current = assumed if assumed is not None else _current(kernel, ops, place, entry)
    except TargetGone as error:
        return Restoration(txn, entry, _lost(ops), detail=error.message)
    except (HostError, OSError, ValueError) as error:
        return Restoration(txn, entry, Outcome.FAILED, detail=f"cannot be read: {error}")
    if current == entry.before:
        return Restoration(txn, entry, Outcome.UNCHANGED, current)
    if is_ours(ops, entry, current) or current == ops.natural(kernel, place):
        return Restoration(txn, entry, Outcome.RESTORED, current)
    detail = f"shows {current!r}, neither {entry.before!r} nor ours; left alone"
    if entry.place not in {"", place}:
        detail += f"; it was {entry.place}, it is {place} now"
    return Restoration(txn, entry, Outcome.FOREIGN, current, detail)


def _current(kernel: Kernel, ops: KnobOps, place: str, entry: Entry) -> str:
    known = {entry.before, ops.natural(kernel, place)}
    return read_settled(kernel, ops, place, lambda s: s in known or is_ours(ops, entry, s))


def _lost(ops: KnobOps) -> Outcome:
    return Outcome.DIED if ops.dies_with_target else Outcome.GONE


def _write_back(kernel: Kernel, found: Restoration) -> Restoration:
    entry = found.entry
    ops = OPS[entry.knob.kind]
    try:
        ops.write(kernel, ops.locate(kernel, entry.knob.target), entry.before)
    except TargetGone as error:
        return replace(found, outcome=_lost(ops), detail=error.message)
    except OSError as error:
        refusal = classify(entry.knob, error)
        detail = f"restoring {entry.before!r} failed: {refusal}. {refusal.remedy}"
        return replace(found, outcome=Outcome.FAILED, detail=detail)
    except HostError as error:
        return replace(found, outcome=Outcome.FAILED, detail=f"{error.message}. {error.hint}")
    return found


def _audit(kernel: Kernel, found: Restoration) -> Restoration:
    """Read a restored value back; what differs stays in the journal for another try."""
    if found.outcome is not Outcome.RESTORED:
        return found
    entry = found.entry
    ops = OPS[entry.knob.kind]
    try:
        place = ops.locate(kernel, entry.knob.target)
        restored = {entry.before, ops.natural(kernel, place)}
        current = read_settled(kernel, ops, place, restored.__contains__)
    except TargetGone as error:
        return replace(found, outcome=_lost(ops), detail=error.message)
    except (HostError, OSError, ValueError) as error:
        return replace(found, outcome=Outcome.FAILED, detail=f"cannot be read back: {error}")
    if current in restored:
        return found
    detail = f"restored {entry.before!r}, but it shows {current!r}"
    return replace(found, outcome=Outcome.FAILED, detail=detail)


def _settled(done: Restoration) -> Entry:
    state = _STATES.get(done.outcome, done.entry.state)
    return replace(done.entry, state=state, note=done.detail or done.entry.note)


def _pins(entries: Sequence[Entry]) -> Iterable[task.Pin]:
    for entry in entries:
        if entry.knob.kind is KnobKind.TASK_AFFINITY and entry.context:
            ours = entry.observed if entry.observed is not None else entry.wanted
            yield task.Pin(entry.knob.target, entry.before, ours, entry.context)
