# SPDX-License-Identifier: GPL-2.0-only
"""The kernel is asked what the ABI says: Python's marks under strace."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, Witnessed, witness

TREE = Path(__file__).parent.parent


def run(program: str, tmp_path: Path) -> Witnessed:
    return witness([sys.executable, "-c", textwrap.dedent(program)], tmp_path / "log")


def test_every_word_of_every_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    seen = run(
        """
        import os, socket, sys, time
        import agenttune
        left, right = socket.socketpair()
        cookie = int.from_bytes(left.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        with agenttune.step("search", kind="tool", deadline=5.0, budget=3000.0):
            agenttune.bind(left)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        with agenttune.step("a name of more than 23 bytes", kind="model"):
            pass
        with agenttune.step():
            pass
        print(os.getpid(), cookie, before, after, flush=True)
        input()
        """,
        tmp_path,
    )
    pid, cookie, before, after = map(int, seen.said)
    first, *rest = seen.of(pid)
    assert before + 5_000_000_000 <= first.extra <= after + 5_000_000_000
    assert (first.op, first.kind, first.step_id, first.budget_us) == (BEGIN, 1, 1, 3_000_000_000)
    assert [(mark.kind, *mark.call) for mark in rest] == [
        (0, BIND, 1, cookie, 0), (0, UNBIND, 1, cookie, 0), (0, END, 1, 0, 0),
        (2, BEGIN, 2, 0, 0), (0, END, 2, 0, 0),
        (0, BEGIN, 3, 0, 0), (0, END, 3, 0, 0),
    ]  # fmt: skip
    assert [bool(mark.name_address) for mark in rest] == [False] * 3 + [True] + [False] * 3
    assert seen.names == (b"search", b"a name of more than 23 ")
    assert {mark.answer for mark in seen.marks} == {"-1 EINVAL (Invalid argument)"}


def test_threads_and_children_mark_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    seen = run(
        """
        import os, threading
        import agenttune
        def work():
            global worker
            worker = threading.get_native_id()
            with agenttune.step("thread"):
                outer.__exit__(None, None, None)
        outer = agenttune.step("outer").begin()
        if not (child := os.fork()):
            outer.__exit__(None, None, None)
            with agenttune.step("child"):
                pass
            os._exit(0)
        os.waitpid(child, 0)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(os.getpid(), child, worker, flush=True)
        input()
        """,
        tmp_path,
    )
    pid, child, worker = map(int, seen.said)
    assert [mark.call for mark in seen.of(pid)] == [(BEGIN, 1, 0, 0)]
    assert [mark.call for mark in seen.of(child)] == [(BEGIN, 1, 0, 0), (END, 1, 0, 0)]
    assert [mark.call for mark in seen.of(worker)] == [(BEGIN, 2, 0, 0), (END, 2, 0, 0)]


def test_ids_of_full_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    seen = run(
        """
        import itertools, os
        from agenttune import steps
        steps._next_id = itertools.count(2**63 + 2**31 + 5).__next__
        with steps.step():
            pass
        print(os.getpid(), flush=True)
        input()
        """,
        tmp_path,
    )
    number = 2**63 + 2**31 + 5
    assert [mark.call for mark in seen.marks] == [(BEGIN, number, 0, 0), (END, number, 0, 0)]
