# SPDX-License-Identifier: GPL-2.0-only
"""Rows: how the journal's tables spell transactions with their entries."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from agenttune.change.entry import Entry, EntryState, Transaction
from agenttune.policy.plan import Knob, KnobKind

Row = Sequence[Any]

# `digest` covers the rest of its row: SQLite finds a damaged page, not a damaged value.
SCHEMA = """
CREATE TABLE txn (
    txn INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, made_at_s REAL NOT NULL, profile TEXT NOT NULL,
    entries INTEGER NOT NULL, deadline_ns INTEGER, timer TEXT NOT NULL, confirmed INTEGER NOT NULL,
    digest INTEGER NOT NULL
) STRICT;
CREATE TABLE entry (
    txn INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    label TEXT NOT NULL, before TEXT NOT NULL, wanted TEXT NOT NULL, reason TEXT NOT NULL,
    evidence TEXT NOT NULL, state TEXT NOT NULL, observed TEXT, place TEXT NOT NULL,
    context TEXT NOT NULL, note TEXT NOT NULL, digest INTEGER NOT NULL, PRIMARY KEY (txn, seq)
) STRICT, WITHOUT ROWID;
"""

PUT_TRANSACTION = f"INSERT OR REPLACE INTO txn VALUES ({', '.join('?' * 9)})"
PUT_ENTRY = f"INSERT OR REPLACE INTO entry VALUES ({', '.join('?' * 15)})"


def digest(values: Row) -> int:
    return zlib.crc32(repr(tuple(values)).encode("utf-8", "backslashreplace"))


def entry_row(txn: int, entry: Entry) -> tuple[Any, ...]:
    row = (
        txn,
        entry.seq,
        entry.knob.kind.value,
        entry.knob.target,
        entry.label,
        entry.before,
        entry.wanted,
        entry.reason,
        msgspec.json.encode(entry.evidence).decode(),
        entry.state.value,
        entry.observed,
        entry.place,
        entry.context,
        entry.note,
    )
    return (*row, digest(row))


def entry_from_row(row: Row) -> Entry:
    _check_digest(row, "entry")
    return Entry(
        seq=row[1],
        knob=Knob(KnobKind(row[2]), row[3]),
        label=row[4],
        before=row[5],
        wanted=row[6],
        reason=row[7],
        evidence=msgspec.json.decode(row[8], type=tuple[str, ...]),
        state=EntryState(row[9]),
        observed=row[10],
        place=row[11],
        context=row[12],
        note=row[13],
    )


def transaction_row(made: Transaction) -> tuple[Any, ...]:
    row = (
        made.txn,
        made.boot_id,
        made.made_at_s,
        made.profile,
        len(made.entries),
        made.deadline_ns,
        made.timer,
        int(made.confirmed),
    )
    return (*row, digest(row))


def transaction_from_row(row: Row, entries: Sequence[Entry]) -> Transaction:
    _check_digest(row, "txn")
    if len(entries) != row[4]:
        raise ValueError(f"transaction {row[0]} has {len(entries)} entries instead of {row[4]}")
    return Transaction(
        txn=row[0],
        boot_id=row[1],
        made_at_s=row[2],
        profile=row[3],
        entries=tuple(entries),
        deadline_ns=row[5],
        timer=row[6],
        confirmed=bool(row[7]),
    )


def _check_digest(row: Row, table: str) -> None:
    if digest(row[:-1]) != row[-1]:
        raise ValueError(f"a row of {table!r} does not match its digest: {row[:4]!r}")


def manual_lines(row: Row) -> list[str]:
    if row[9] not in {state.value for state in EntryState if state.is_open}:
        return []
    doubt = "" if digest(row[:-1]) == row[-1] else " (this line may be damaged)"
    where = f" (at {row[11]} when it was written)" if row[11] else ""
    return [f"  {row[2]} {row[3]}{where}: set {row[6]!r} back to {row[5]!r}{doubt}"]
