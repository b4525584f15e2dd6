# SPDX-License-Identifier: GPL-2.0-only
"""The journal: durable or refused, safe to open, useful when it is damaged."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from change_host import (
    PINNED,
    FakeKernel,
    contents,
    do_apply,
    do_revert,
)

from agenttune.change import state_dir
from agenttune.change.apply import apply
from agenttune.change.entry import Transaction
from agenttune.change.journal import JOURNAL_FILE, Journal, open_journal, read_journal
from agenttune.errors import ExitCode, HostError, JournalError
from agenttune.policy.plan import Plan


def read(state: Path) -> tuple[Transaction, ...]:
    with read_journal(state) as journal:
        assert journal is not None
        return journal.transactions()


def test_what_is_written_is_read(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    (made,) = read(state)
    assert (made.profile, made.boot_id) == ("test", kernel.boot_id())
    assert [entry.knob for entry in made.entries] == [change.knob for change in plan.changes]
    assert {entry.state for entry in made.entries} == {"applied"}
    assert made.entries[0].evidence == ("seen",)
    assert [entry.observed for entry in made.entries] == ["600", "1", "1", "1"]


def test_modes_and_durability(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    old = os.umask(0)
    try:
        with open_journal(state) as journal:
            (level,) = journal._connection.execute("PRAGMA synchronous").fetchone()
            (mode,) = journal._connection.execute("PRAGMA journal_mode").fetchone()
    finally:
        os.umask(old)
    assert (level, mode) == (3, "delete")
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in state.iterdir()} == {
        JOURNAL_FILE: 0o600,
        state_dir.LOCK_FILE: 0o600,
    }


def test_reading_makes_nothing(state: Path) -> None:
    with read_journal(state) as journal:
        assert journal is None
    assert not state.exists()


def test_settled_transactions_are_forgotten_by_the_next(
    kernel: FakeKernel, state: Path, plan: Plan
) -> None:
    for _ in range(3):
        do_apply(kernel, plan, state)
        do_revert(kernel, state)
    assert [made.txn for made in read(state)] == [3]


# The state path


def as_link(state: Path) -> None:
    state.with_name("elsewhere").mkdir(mode=0o700)
    state.symlink_to("elsewhere")


def as_fifo(state: Path) -> None:
    os.mkfifo(state)


def as_file(state: Path) -> None:
    state.write_text("")


def as_open_to_all(state: Path) -> None:
    state.mkdir()
    state.chmod(0o1777)


def as_open_to_group(state: Path) -> None:
    state.mkdir()
    state.chmod(0o770)


def journal_as_link(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "real").write_text("")
    (state / JOURNAL_FILE).symlink_to("real")


def journal_as_fifo(state: Path) -> None:
    state.mkdir(mode=0o700)
    os.mkfifo(state / JOURNAL_FILE, 0o600)


def journal_hard_linked(state: Path) -> None:
    with open_journal(state):
        pass
    (state / "again").hardlink_to(state / JOURNAL_FILE)


def journal_writable_by_others(state: Path) -> None:
    with open_journal(state):
        pass
    (state / JOURNAL_FILE).chmod(0o666)


def journal_as_directory(state: Path) -> None:
    (state / JOURNAL_FILE).mkdir(parents=True)
    state.chmod(0o700)


def lock_as_link(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "lock").symlink_to("/dev/null")


def rollback_as_link(state: Path) -> None:
    with open_journal(state):
        pass
    (state / (JOURNAL_FILE + "-journal")).symlink_to("/etc/passwd")


HOSTILE = (
    *(as_link, as_fifo, as_file, as_open_to_all, as_open_to_group, journal_as_link),
    *(journal_as_fifo, journal_hard_linked, journal_writable_by_others, journal_as_directory),
    *(lock_as_link, rollback_as_link),
)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_unsafe_state_is_refused(kernel: FakeKernel, state: Path, plan: Plan, make: object) -> None:
    make(state)  # type: ignore[operator]
    start = contents(kernel.root)
    with pytest.raises(JournalError, match=str(state)) as caught:
        do_apply(kernel, plan, state)
    assert caught.value.hint
    assert contents(kernel.root) == start
    if make is not lock_as_link:
        with pytest.raises(JournalError), read_journal(state):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a file of another user")
def test_foreign_owner_is_refused(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    state.mkdir(mode=0o700)
    os.chown(state, 1234, 1234)
    with pytest.raises(JournalError, match="belongs to uid 1234"):
        do_apply(kernel, plan, state)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_other_user_may_not_look(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    """Where nothing can be seen, 'nothing is applied' would be a lie."""
    do_apply(kernel, plan, state)
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        code = 1
        try:
            with read_journal(state):
                pass
        except HostError as error:
            code = 0 if "root" in error.message and "sudo" in error.hint else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# A journal that cannot be written


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond `size` fail with EFBIG, which SQLite reports as an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_no_write_without_a_durable_intent(kernel: FakeKernel, place: Path, plan: Plan) -> None:
    """The disk takes 0, 512, 1024, … bytes of each file: whichever write fails, nothing stays."""
    start = contents(kernel.root)
    failed = 0
    for size in range(0, 64 << 10, 512):
        state = place / f"state-{size}"
        kernel.written.clear()
        try:
            with file_size_limit(size):
                do_apply(kernel, plan, state)
        except JournalError as error:
            failed += 1
            assert error.hint
        else:
            break
        recorded = [made for made in read(state) if made.entries] if has_journal(state) else []
        assert recorded or not kernel.written
        assert contents(kernel.root) == start
        assert do_revert(kernel, state).exit_code is ExitCode.OK
        assert contents(kernel.root) == start
    else:
        raise AssertionError("no size is enough")
    assert failed > 3


def has_journal(state: Path) -> bool:
    return (state / JOURNAL_FILE).exists()


class FullDisk(Journal):
    """Fills up at commit number `full_at`."""

    full_at = 0

    def _commit(self, statements: object) -> None:
        if self.full_at == 0:
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
            self._connection.execute(f"PRAGMA max_page_count = {pages}")
            statements = [("CREATE TABLE filler AS SELECT randomblob(99999) AS x", [()])]
        self.full_at -= 1
        super()._commit(statements)  # type: ignore[arg-type]


@pytest.mark.parametrize("commit", [0, 1])
def test_full_disk(kernel: FakeKernel, state: Path, plan: Plan, commit: int) -> None:
    """At the intents nothing is written; at the results everything is restored."""
    start = contents(kernel.root)
    with open_journal(state, kind=FullDisk) as journal:
        assert isinstance(journal, FullDisk)
        journal.full_at = commit
        with pytest.raises(JournalError, match="full"):
            apply(plan, kernel, journal)
    assert bool(kernel.written) is bool(commit)
    assert contents(kernel.root) == start
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert contents(kernel.root) == start


# The lock


def damaged(state: Path) -> str:
    """Opening refuses; what it says."""
    with pytest.raises(JournalError) as caught, open_journal(state):
        pass
    assert str(state / JOURNAL_FILE) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def test_truncated_at_every_page(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    file = state / JOURNAL_FILE
    whole = file.read_bytes()
    for size in (0, 1, 99, 100, 512, 4095, *range(4096, len(whole), 4096), len(whole) - 1):
        file.write_bytes(whole[:size])
        damaged(state)
        assert file.stat().st_size == size
    file.write_bytes(whole)
    assert do_revert(kernel, state).exit_code is ExitCode.OK


def test_any_flipped_bit_is_found_or_harmless(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    """One bit of every used byte: the journal is refused, or it says exactly the same."""
    do_apply(kernel, plan, state)
    truth = read(state)
    file = state / JOURNAL_FILE
    whole = file.read_bytes()
    used = [offset for offset in range(len(whole)) if whole[offset] or offset < 100]
    refused = 0
    for offset in used:
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << (offset % 8)
        file.write_bytes(flipped)
        try:
            assert read(state) == truth, f"bit {offset % 8} of byte {offset}"
        except JournalError:
            refused += 1
    assert refused > len(used) * 0.8


def test_garbage_is_refused(state: Path) -> None:
    with open_journal(state):
        pass
    (state / JOURNAL_FILE).write_bytes(b"\xff" * 8192)
    damaged(state)


def test_damage_prints_the_manual_plan(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    start = contents(kernel.root)
    with sqlite3.connect(state / JOURNAL_FILE) as connection:
        connection.execute("UPDATE entry SET before = '0-6' WHERE seq = 2")
    connection.close()
    lines = damaged(state).splitlines()
    assert "does not match its digest" in lines[0]
    where = f"vector-affinity {PINNED[1]} (at 25 when it was written): set '1' back to '0-6'"
    assert f"  {where} (this line may be damaged)" in lines
    assert "  sysctl net.core.netdev_budget (at" in "\n".join(lines)
    assert len(lines) == 5
    assert contents(kernel.root) == start


def test_lost_row_is_found(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    with sqlite3.connect(state / JOURNAL_FILE) as connection:
        connection.execute("DELETE FROM entry WHERE seq = 2")
    connection.close()
    assert "has 3 entries instead of 4" in damaged(state)


def test_other_format_is_refused(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    with sqlite3.connect(state / JOURNAL_FILE) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert "version 2" in damaged(state)


def test_half_made_journal_is_made_again(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    state.mkdir(mode=0o700)
    (state / "journal.new").write_bytes(b"SQLite format 3\0")
    do_apply(kernel, plan, state)
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert not (state / "journal.new").exists()
