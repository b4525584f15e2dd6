# SPDX-License-Identifier: GPL-2.0-only
"""Journal: the durable record that makes revert possible."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from agenttune.change import rows, state_dir
from agenttune.change.entry import Entry, Transaction
from agenttune.change.rows import Row
from agenttune.errors import JournalError

JOURNAL_FILE = "journal.sqlite"
LOCK_TIMEOUT_S = 5.0
_NEW_FILE = "journal.new"
# What SQLite may leave beside the file after a crash; it is rolled back when opened.
_ROLLBACK_SUFFIX = "-journal"
_APPLICATION_ID = 0x41475354
_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 5.0
# cell_size_check and trusted_schema guard against a damaged file, not against an attacker.
_PRAGMAS = (
    "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; "
    "PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;"
)

Statement = tuple[str, Sequence[Row]]


class Journal:
    """Transactions in one SQLite file. Use open_journal() to write, read_journal() to look.

    journal_mode=DELETE keeps the record in one file that can be checked as a whole (WAL would add
    two whose loss loses commits); synchronous=EXTRA also syncs the directory after the rollback
    journal is deleted, so that a power cut cannot bring it back and undo a commit.
    Making one raises JournalError, with the manual plan, unless the whole file is sound.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._known: dict[int, Transaction] = {}
        with self._faults("read"):
            connection.executescript(_PRAGMAS)
            self._check()
            self._known = {each.txn: each for each in self._load()}

    def transactions(self) -> tuple[Transaction, ...]:
        """All of them, oldest first."""
        return tuple(self._known.values())

    def open_transactions(self) -> tuple[Transaction, ...]:
        """Those that still have something to undo, oldest first."""
        return tuple(each for each in self._known.values() if each.open_entries)

    def transaction(self, txn: int) -> Transaction:
        """One of them. Raises KeyError."""
        return self._known[txn]

    def begin(self, draft: Transaction) -> Transaction:
        """Make intents durable; returns the transaction with its number. Forgets settled ones.

        Only after this may a knob be written. Raises JournalError; then nothing is recorded.
        """
        made = replace(draft, txn=max(self._known, default=0) + 1)
        old = [each.txn for each in self._known.values() if not each.open_entries]
        self._commit(
            [
                ("DELETE FROM entry WHERE txn = ?", [(txn,) for txn in old]),
                ("DELETE FROM txn WHERE txn = ?", [(txn,) for txn in old]),
                (rows.PUT_TRANSACTION, [rows.transaction_row(made)]),
                (rows.PUT_ENTRY, [rows.entry_row(made.txn, entry) for entry in made.entries]),
            ]
        )
        for txn in old:
            del self._known[txn]
        self._known[made.txn] = made
        return made

    def settle(self, txn: int, entries: Sequence[Entry]) -> None:
        """Replace these entries of a transaction by what became of them. Raises JournalError."""
        self._commit([(rows.PUT_ENTRY, [rows.entry_row(txn, entry) for entry in entries])])
        fresh = {entry.seq: entry for entry in entries}
        known = self._known[txn]
        merged = tuple(fresh.get(entry.seq, entry) for entry in known.entries)
        self._known[txn] = replace(known, entries=merged)

    def update(self, transaction: Transaction) -> None:
        """Replace what is known of a transaction, except its entries. Raises JournalError."""
        self._commit([(rows.PUT_TRANSACTION, [rows.transaction_row(transaction)])])
        known = self._known[transaction.txn]
        self._known[transaction.txn] = replace(transaction, entries=known.entries)

    def _load(self) -> Iterator[Transaction]:
        found = self._connection.execute("SELECT * FROM entry ORDER BY txn, seq").fetchall()
        by_txn: dict[int, list[Entry]] = {}
        for row in found:
            by_txn.setdefault(row[0], []).append(rows.entry_from_row(row))
        for row in self._connection.execute("SELECT * FROM txn ORDER BY txn").fetchall():
            yield rows.transaction_from_row(row, by_txn.pop(row[0], []))
        if by_txn:
            raise ValueError("it has entries without a transaction")

    def _check(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if (application, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise ValueError(f"its format is {application:#x} version {version}")
        (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise ValueError(verdict)

    def _commit(self, statements: Sequence[Statement]) -> None:
        with self._faults("write"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    self._connection.executemany(sql, values)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
            if doing == "write" or "locked" in str(error):
                raise _cannot(self.path, doing, error) from error
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> JournalError:
        return JournalError(
            f"{self.path}: damaged: {error}\n" + "\n".join(self._manual_plan()),
            hint=f"Set the values above by hand where they differ, then move {self.path} away.",
        )

    def _manual_plan(self) -> list[str]:
        """What can still be read of the open entries, newest first, for a person to undo."""
        lines: list[str] = []
        query = "SELECT * FROM entry ORDER BY txn DESC, seq DESC"
        with suppress(sqlite3.Error, ValueError, OverflowError):
            for row in self._connection.execute(query):
                lines += rows.manual_lines(row)
        return lines or ["  no change could be read from it"]


@contextmanager
def open_journal(
    directory: Path, *, timeout_s: float | None = LOCK_TIMEOUT_S, kind: type[Journal] = Journal
) -> Iterator[Journal]:
    """Lock the state directory, made if missing, and check its journal.

    Raises LockHeld after `timeout_s` (None waits for ever), JournalError for a journal or a
    directory that is unsafe, damaged or cannot be written.
    """
    path = directory / JOURNAL_FILE
    with state_dir.opened(directory) as handle, state_dir.locked(handle, directory, timeout_s):
        if state_dir.check_file(handle, path) is None:
            _create(handle, directory)
        with closing(_connect(handle, path)) as connection:
            yield kind(path, connection)


@contextmanager
def read_journal(directory: Path) -> Iterator[Journal | None]:
    """Look at a journal without the lock; None when there is none. Raises JournalError."""
    path = directory / JOURNAL_FILE
    if not state_dir.exists(directory):
        yield None
        return
    with state_dir.opened(directory) as handle:
        if state_dir.check_file(handle, path) is None:
            yield None
            return
        with closing(_connect(handle, path)) as connection:
            yield Journal(path, connection)


def _connect(handle: int, path: Path) -> sqlite3.Connection:
    """SQLite opens by name: compare what it opened with what was checked."""
    state_dir.check_file(handle, path.with_name(path.name + _ROLLBACK_SUFFIX))
    checked = state_dir.check_file(handle, path)
    if checked is None or checked.st_size == 0:
        raise JournalError(
            f"{path}: damaged: it is empty",
            hint=f"A journal is never empty; what it held is lost. Move {path} away.",
        )
    connection = _open_database(path)
    now = path.lstat()
    if (now.st_dev, now.st_ino) != (checked.st_dev, checked.st_ino):
        connection.close()
        raise JournalError(f"{path}: was replaced while it was opened")
    return connection


def _create(handle: int, directory: Path) -> None:
    """Make an empty journal under another name first: a journal never exists half made."""
    new, path = directory / _NEW_FILE, directory / JOURNAL_FILE
    try:
        for leftover in (new, new.with_name(new.name + _ROLLBACK_SUFFIX)):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new.name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, dir_fd=handle))
        with closing(_open_database(new)) as connection:
            connection.executescript(
                f"{_PRAGMAS} BEGIN; {rows.SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        new.rename(path)
        os.fsync(handle)
    except (sqlite3.Error, OSError) as error:
        raise _cannot(path, "make", error) from error


def _open_database(path: Path) -> sqlite3.Connection:
    name = f"file:{quote(str(path.absolute()))}?mode=rw"
    try:
        return sqlite3.connect(name, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as error:
        raise _cannot(path, "open", error) from error


def _cannot(path: Path, doing: str, error: Exception) -> JournalError:
    return JournalError(
        f"{path}: cannot {doing}: {error}",
        hint="Check free space and the disk; no knob is written without the journal.",
    )
