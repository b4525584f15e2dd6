# SPDX-License-Identifier: GPL-2.0-only
"""The lock on the state directory: one writer, named to the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from change_host import (
    FakeKernel,
    contents,
    do_apply,
    do_revert,
)

from agenttune.change.journal import open_journal, read_journal
from agenttune.errors import AgenttuneError, ExitCode, LockHeld
from agenttune.policy.plan import Plan


@contextmanager
def child_holding_the_lock(state: Path) -> Iterator[int]:
    ready, says = os.pipe()
    child = os.fork()
    if child == 0:
        with open_journal(state):
            os.write(says, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(says)


def test_second_apply_says_who_holds_the_lock(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    with child_holding_the_lock(state) as child:
        before = time.monotonic()
        with (
            pytest.raises(LockHeld, match=rf"process {child} \(.*pytest.*\) holds the lock"),
            open_journal(state, timeout_s=0.3),
        ):
            pass
        assert 0.3 <= time.monotonic() - before < 2
    do_apply(kernel, plan, state)


def test_stopped_holder_is_named_as_such(state: Path) -> None:
    with child_holding_the_lock(state) as child:
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        with (
            pytest.raises(LockHeld, match=rf"process {child} .*, which is stopped"),
            open_journal(state, timeout_s=0.1),
        ):
            pass


def test_reading_needs_no_lock(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    do_apply(kernel, plan, state)
    with child_holding_the_lock(state), read_journal(state) as journal:
        assert journal is not None
        assert len(journal.transactions()) == 1


def test_many_applies_at_once(kernel: FakeKernel, state: Path, plan: Plan) -> None:
    """One of them writes; the others find it done, or the lock held."""
    start = contents(kernel.root)
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            try:
                done = do_apply(kernel, plan, state)
                os._exit(10 if done.txn else 11)
            except AgenttuneError as error:
                os._exit(error.exit_code)
            finally:
                os._exit(99)
        children.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [10, 11, 11, 11, 11, 11]
    assert do_revert(kernel, state).exit_code is ExitCode.OK
    assert contents(kernel.root) == start


# Damage
