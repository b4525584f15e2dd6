# SPDX-License-Identifier: GPL-2.0-only
"""Marks carry the right words and nothing makes them raise."""

from __future__ import annotations

import asyncio
import ctypes
import enum
import inspect
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, record
from mark_witness import Mark as Seen

import agenttune
from agenttune import bind, step, steps

TREE = Path(__file__).parent.parent


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    return record(monkeypatch)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def cookie(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 57, 8), sys.byteorder)


def name(mark: Seen) -> bytes:
    return ctypes.string_at(mark.name_address) if mark.name_address else b""


def test_a_step_is_a_begin_with_an_end(marks: list[Seen]) -> None:
    with step("search", kind="tool") as entered:
        assert len(marks) == 1
    begin, end = marks
    assert begin.call == (BEGIN, entered.id, 0, 0)
    assert (begin.kind, name(begin)) == (1, b"search")
    assert end.call == (END, entered.id, 0, 0)
    assert (end.kind, end.name_address) == (0, 0)


def test_ids_rise_from_step_to_step(marks: list[Seen]) -> None:
    once = step("again")
    assert once.id == 0
    ids = []
    for _ in range(3):
        with once:
            ids.append(once.id)
    assert ids == [ids[0], ids[0] + 1, ids[0] + 2]
    assert ids[0] > 0


class Kind(enum.StrEnum):
    TOOL = "tool"


@pytest.mark.parametrize(
    ("kind", "code"),
    [("other", 0), ("tool", 1), ("model", 2), (Kind.TOOL, 1), ("TOOL", 0), (None, 0), (1, 0),
     ([], 0), ({}, 0)],
)  # fmt: skip
def test_kinds(marks: list[Seen], kind: object, code: int) -> None:
    for _ in range(2):
        with step("k", kind=kind):  # type: ignore[call-overload]
            pass
    assert [mark.kind for mark in marks] == [code, 0, code, 0]
    assert marks[0].op == BEGIN


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class HostileText(str):
    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        (None, b""), ("", b""), ("search", b"search"), ("a" * 23, b"a" * 23),
        ("a" * 24, b"a" * 23), ("a" * 10000, b"a" * 23), ("é" * 12, "é".encode() * 11),
        ("\ud800", b"?"), ("a\0b", b"a"), (17, b"17"), (Kind.TOOL, b"tool"), (["x"], b"['x']"),
        (Hostile(), b""), (HostileText("x"), b"x"),
    ],
    ids=repr,
)  # fmt: skip
def test_names(marks: list[Seen], given: object, recorded: bytes) -> None:
    for _ in range(2):
        with step(given) as entered:  # type: ignore[call-overload]
            assert name(marks[-1]) == recorded
            assert marks[-1].call == (BEGIN, entered.id, 0, 0)
    assert len(marks) == 4


def test_kept_names_are_bounded(marks: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_begins", {kind: {} for kind in steps._KINDS})
    for number in range(steps._KEPT_NAMES + 50):
        with step(f"name {number}"):
            assert name(marks[-1]) == f"name {number}".encode()
    assert len(steps._begins["other"]) == steps._KEPT_NAMES
    with step("x" * (steps._KEPT_NAME_LENGTH + 1), kind="tool"):
        assert not steps._begins["tool"]


def test_an_address_too_high_is_left_out(
    marks: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "addressof", lambda _: 1 << 47)
    with step("a name not seen before"):
        pass
    assert [(mark.op, mark.name_address) for mark in marks] == [(BEGIN, 0), (END, 0)]


def test_deadline_is_a_moment_of_the_monotonic_clock(marks: list[Seen]) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    with step(deadline=2.5):
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert before + 2_500_000_000 <= marks[0].extra <= after + 2_500_000_000
    assert marks[0].budget_us == 0
    assert marks[1].call[2:] == (0, 0)


def test_a_deadline_already_past_stays_past(marks: list[Seen]) -> None:
    with step(deadline=-0.5):
        pass
    assert 0 < marks[0].extra < time.monotonic_ns()


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf, 1e300, -1e300, "5", [], None])
def test_what_is_no_time_counts_as_not_given(marks: list[Seen], nothing: object) -> None:
    with step(deadline=nothing, budget=0.001) as entered:  # type: ignore[call-overload]
        assert marks[0].call == (BEGIN, entered.id, 0, 1000)


@pytest.mark.parametrize(
    ("budget", "budget_us"),
    [(0.25, 250_000), (1, 1_000_000), (1e-9, 1), (0, 0), (-1, 0), (1e9, 2**32 - 1),
     (math.nan, 0), (math.inf, 0), ("1", 0), ([], 0)],
)  # fmt: skip
def test_budget(marks: list[Seen], budget: object, budget_us: int) -> None:
    with step(budget=budget) as entered:  # type: ignore[call-overload]
        assert marks[0].call == (BEGIN, entered.id, 0, budget_us)


def test_bind_is_undone_before_the_end(
    marks: list[Seen], pair: tuple[socket.socket, socket.socket]
) -> None:
    left, right = pair
    with step() as entered:
        assert bind(left)
        assert bind(left)
        assert entered.bind(right)
    calls = [mark.call for mark in marks]
    one, two = cookie(left), cookie(right)
    tied = [(BIND, entered.id, number, 0) for number in (one, one, two)]
    untied = {(UNBIND, entered.id, number, 0) for number in (one, two)}
    assert calls[1:4] == tied
    assert set(calls[4:6]) == untied
    assert calls[6:] == [(END, entered.id, 0, 0)]


def test_unbind_is_not_repeated(
    marks: list[Seen], pair: tuple[socket.socket, socket.socket]
) -> None:
    with step() as entered:
        assert entered.bind(pair[0])
        assert entered.unbind(pair[0])
    assert [mark.op for mark in marks] == [BEGIN, BIND, UNBIND, END]
    assert marks[2].call == (UNBIND, entered.id, cookie(pair[0]), 0)


def test_a_step_used_again_has_no_sockets(
    marks: list[Seen], pair: tuple[socket.socket, socket.socket]
) -> None:
    again = step()
    with again:
        bind(pair[0])
    with again:
        pass
    assert [mark.op for mark in marks] == [BEGIN, BIND, UNBIND, END, BEGIN, END]


def test_a_socket_closed_meanwhile_is_untied(marks: list[Seen]) -> None:
    left, right = socket.socketpair()
    number = cookie(left)
    with right, step() as entered:
        bind(left)
        left.close()
    assert marks[2].call == (UNBIND, entered.id, number, 0)


class OnlyNumber:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def test_what_bind_takes(marks: list[Seen], pair: tuple[socket.socket, socket.socket]) -> None:
    sock = pair[0]
    with step() as entered:
        for given in (sock, sock.fileno(), OnlyNumber(sock.fileno())):
            assert bind(given)
            assert marks[-1].call == (BIND, entered.id, cookie(sock), 0)
    sock.getpeername()  # still open


def test_bind_takes_what_asyncio_gives(marks: list[Seen]) -> None:
    async def talk() -> None:
        async with await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            _, writer = await asyncio.open_connection(*address)
            plain = writer.get_extra_info("socket")
            number = int.from_bytes(plain.getsockopt(1, 57, 8), sys.byteorder)
            with step() as entered:
                for given in (writer, writer.transport, plain):
                    assert bind(given)
                    assert marks[-1].call == (BIND, entered.id, number, 0)
            writer.close()
            await writer.wait_closed()

    asyncio.run(talk())


def test_what_is_no_socket_is_refused_quietly(marks: list[Seen]) -> None:
    closed = socket.socket()
    closed.close()
    with (TREE / "pyproject.toml").open() as file, step():
        for given in (None, "x", -1, 10**6, 10**30, closed, file, file.fileno(), object()):
            assert not bind(given)
    assert [mark.op for mark in marks] == [BEGIN, END]


def test_bind_outside_a_step(marks: list[Seen], pair: tuple[socket.socket, socket.socket]) -> None:
    assert not bind(pair[0])
    ended = step()
    with ended:
        pass
    assert not ended.bind(pair[0])
    assert not bind(pair[0])
    assert [mark.op for mark in marks] == [BEGIN, END]


def test_exceptions_pass_through(marks: list[Seen]) -> None:
    with pytest.raises(KeyError, match="mine"), step():
        raise KeyError("mine")
    assert [mark.op for mark in marks] == [BEGIN, END]


def test_begin_and_end_for_callbacks(marks: list[Seen]) -> None:
    entered = step("x").begin()
    assert entered.end()
    assert not entered.end()
    assert not step().end()
    assert [mark.op for mark in marks] == [BEGIN, END]


def test_beginning_an_open_step_ends_it_first(marks: list[Seen]) -> None:
    entered = step("x")
    with entered:
        first = entered.id
        with entered:
            second = entered.id
    assert [mark.call[:2] for mark in marks] == [
        (BEGIN, first), (END, first), (BEGIN, second), (END, second),
    ]  # fmt: skip


def broken(*_begins: int) -> None:
    raise OSError("no libc")


def test_a_libc_that_fails_is_not_noticed(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    for function in (broken, None):  # None: module globals at interpreter shutdown
        monkeypatch.setattr(steps, "_mark", function)
        with step("x", deadline=1) as entered:
            bind(pair[0])
            entered.unbind(pair[0])


@pytest.mark.parametrize(
    "breakage",
    [
        "sys.platform = 'darwin'",
        "sys.modules['ctypes'] = None",
        "import ctypes; ctypes.PyDLL = None",
        "import ctypes; ctypes.c_ulong = ctypes.c_uint32",
        "import os; del os.register_at_fork",
    ],
)
def test_an_unusual_interpreter(breakage: str) -> None:
    program = f"""
import sys
{breakage}
import agenttune
with agenttune.step('x', kind='tool', deadline=1.0):
    assert not agenttune.bind(None)
@agenttune.step
def double(x): return 2 * x
assert double(4) == 8
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=TREE)


def test_steps_used_again_while_they_overlap_end() -> None:
    """Each was the other's outer step; in a process of its own, for the failure is a hang."""
    program = """
from agenttune import bind, step
one, two = step().begin(), step().begin()
one.end()
one.begin()
two.end()
assert one.end() and not bind(0)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=TREE, timeout=20)


def test_shutdown_is_quiet() -> None:
    program = """
import agenttune
class Late:
    def __del__(self):
        with agenttune.step('late'):
            agenttune.bind(0)
kept = Late()
open_at_exit = agenttune.step('open').begin()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=TREE, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_import_brings_little() -> None:
    program = "import sys; import agenttune; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], check=True, cwd=TREE, capture_output=True, text=True
    )
    loaded = done.stdout.split()
    assert [module for module in loaded if module.startswith("agenttune.")] == [
        "agenttune.attach",
        "agenttune.steps",
    ]
    assert not {"typing", "inspect", "re", "socket", "asyncio", "msgspec"} & set(loaded)


def test_the_package_offers_marks() -> None:
    assert agenttune.__all__ == ["attach", "bind", "detach", "step"]
    assert (agenttune.bind, agenttune.step) == (steps.bind, steps.step)
    assert {agenttune.attach.__module__, agenttune.detach.__module__} == {"agenttune.attach"}
    assert list(inspect.signature(agenttune.step).parameters) == [
        "name", "kind", "deadline", "budget",
    ]  # fmt: skip


def test_marks_leave_no_memory_behind(marks: list[Seen]) -> None:
    """Steps that overlap hand over hand hold on to none that is over."""
    before = step().begin()
    first = before
    for _ in range(100):
        after = step().begin()
        before.end()
        before = after
    depth = 0
    link: object = before
    while link is not None:
        depth += 1
        link = getattr(link, "_outer", None)
    before.end()
    assert depth <= 3
    assert first._outer is None
