# SPDX-License-Identifier: GPL-2.0-only
"""Marks stay right in threads, forked children, overlapping tasks, decorators, generators."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import inspect
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, Mark, record

from agenttune import bind, step


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[Mark]:
    return record(monkeypatch)


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child: 0 when work gives a true value there."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ops(marks: list[Mark]) -> list[int]:
    return [mark.op for mark in marks]


def test_each_thread_has_its_own_steps(marks: list[Mark]) -> None:
    both_open = threading.Barrier(8)

    def work() -> None:
        with step("thread") as entered:
            both_open.wait(10)
            ids[threading.get_native_id()] = entered.id

    ids: dict[int, int] = {}
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids.values())) == 8
    for tid, number in ids.items():
        assert [m.call[:2] for m in marks if m.tid == tid] == [(BEGIN, number), (END, number)]


def test_another_thread_ends_nothing(marks: list[Mark]) -> None:
    entered = step().begin()
    in_thread(entered.end)
    assert not entered.end()
    assert ops(marks) == [BEGIN]


def test_a_later_thread_of_the_same_number_ends_nothing(marks: list[Mark]) -> None:
    entered = step()
    in_thread(entered.begin)
    numbers = {}
    for _ in range(20):  # pthreads reuse their stacks, and with them get_ident()
        in_thread(lambda: numbers.setdefault(threading.get_ident(), entered.end()))
    assert not any(numbers.values())
    assert ops(marks) == [BEGIN]


def test_another_thread_binds_nothing(marks: list[Mark]) -> None:
    left, right = socket.socketpair()
    answers: list[bool] = []
    with left, right, step() as entered:
        in_thread(lambda: answers.append(entered.bind(left)))
        in_thread(lambda: answers.append(bind(left)))
        asyncio.run(asyncio.to_thread(lambda: answers.append(bind(left))))
    assert answers == [False] * 3
    assert ops(marks) == [BEGIN, END]


def test_a_forked_child_does_not_end_its_parents_step(marks: list[Mark]) -> None:
    left, right = socket.socketpair()

    def leave() -> bool:
        entered.__exit__(None, None, None)
        return ops(marks) == [BEGIN]

    with left, right, step() as entered:
        assert in_child(leave) == 0
        assert in_child(lambda: not entered.end() and not bind(left)) == 0
        assert in_child(lambda: not entered.bind(left) and ops(marks) == [BEGIN]) == 0
    assert ops(marks) == [BEGIN, END]


def test_a_forked_child_counts_from_one(marks: list[Mark]) -> None:
    def own_steps() -> bool:
        with step() as first, step() as second:
            pass
        return (first.id, second.id) == (1, 2) and ops(marks)[-4:] == [BEGIN, BEGIN, END, END]

    with step():
        assert in_child(own_steps) == 0


def test_nested_steps(marks: list[Mark]) -> None:
    left, right = socket.socketpair()
    with left, right, step("outer") as outer:
        with step("inner") as inner:
            bind(left)
        bind(right)
    assert [mark.call[:2] for mark in marks] == [
        (BEGIN, outer.id), (BEGIN, inner.id), (BIND, inner.id), (UNBIND, inner.id),
        (END, inner.id), (BIND, outer.id), (UNBIND, outer.id), (END, outer.id),
    ]  # fmt: skip


def test_steps_that_overlap_in_one_context(marks: list[Mark]) -> None:
    left, right = socket.socketpair()
    first, second = step().begin(), step().begin()
    first.end()
    with left, right:
        bind(left)
        second.end()
        assert not bind(left)
    assert [mark.call[:2] for mark in marks] == [
        (BEGIN, first.id), (BEGIN, second.id), (END, first.id), (BIND, second.id),
        (UNBIND, second.id), (END, second.id),
    ]  # fmt: skip


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readexactly(1))
    writer.close()


def test_eight_tasks_on_one_thread(marks: list[Mark]) -> None:
    async def call(all_open: asyncio.Barrier, port: int) -> tuple[int, int]:
        async with step("call", kind="tool") as entered:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert bind(writer)
            cookie = marks[-1].extra
            await all_open.wait()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
            return entered.id, cookie

    async def main() -> list[tuple[int, int]]:
        all_open = asyncio.Barrier(8)
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.gather(*(call(all_open, port) for _ in range(8)))

    found = asyncio.run(main())
    assert len({number for number, _ in found}) == len({cookie for _, cookie in found}) == 8
    assert min(ops(marks).index(op) for op in (END, UNBIND)) >= 16
    for number, cookie in found:
        assert [mark.call for mark in marks if mark.step_id == number] == [
            (BEGIN, number, 0, 0), (BIND, number, cookie, 0),
            (UNBIND, number, cookie, 0), (END, number, 0, 0),
        ]  # fmt: skip


def test_a_task_inherits_the_step_it_starts_in(marks: list[Mark]) -> None:
    left, right = socket.socketpair()

    async def later() -> tuple[bool, bool]:
        while_open = bind(left)
        await over.wait()
        return while_open, bind(left)

    async def main() -> tuple[bool, bool]:
        async with step():
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        over.set()
        return await task

    over = asyncio.Event()
    with left, right:
        assert asyncio.run(main()) == (True, False)
    assert ops(marks) == [BEGIN, BIND, UNBIND, END]


def test_a_cancelled_task_ends_its_step(marks: list[Mark]) -> None:
    @step("wait")
    async def wait() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)

    asyncio.run(main())
    assert ops(marks) == [BEGIN, END]


class Tools:
    @step
    def plain(self, first: int, *, second: int = 2) -> int:
        """Adds."""
        return first + second

    @step("named", kind="model", budget=0.5)
    async def waits(self, first: int) -> int:
        await asyncio.sleep(0)
        return first

    @staticmethod
    @step(kind="tool")
    def static(first: int) -> int:
        return first

    @classmethod
    @step()
    def of_class(cls, first: int) -> tuple[type, int]:
        return cls, first


def test_decorated_methods(marks: list[Mark]) -> None:
    tools = Tools()
    assert tools.plain(1) == 3
    assert asyncio.run(tools.waits(4)) == 4
    assert tools.static(5) == 5
    assert tools.of_class(6) == (Tools, 6)
    assert [(m.kind, m.budget_us) for m in marks if m.op == BEGIN] == [
        (0, 0), (2, 500_000), (1, 0), (0, 0),
    ]  # fmt: skip
    assert ops(marks) == [BEGIN, END] * 4


def test_a_decorated_function_stays_what_it_was() -> None:
    assert (
        str(inspect.signature(Tools.plain)) == "(self, first: 'int', *, second: 'int' = 2) -> 'int'"
    )
    assert (Tools.plain.__name__, Tools.plain.__doc__) == ("plain", "Adds.")
    assert inspect.iscoroutinefunction(Tools.waits)
    assert not inspect.iscoroutinefunction(Tools.plain)
    assert inspect.isgeneratorfunction(count)
    assert inspect.isasyncgenfunction(acount)


def test_a_decorated_function_gives_its_name(marks: list[Mark]) -> None:
    Tools().plain(1)
    assert ctypes.string_at(marks[0].name_address) == b"plain"


def test_decorated_recursion_has_a_step_per_call(marks: list[Mark]) -> None:
    @step
    def down(depth: int) -> int:
        return depth and down(depth - 1)

    down(2)
    ids = [mark.step_id for mark in marks]
    assert ops(marks) == [BEGIN] * 3 + [END] * 3
    assert ids[3:] == ids[:3][::-1]


def test_a_decorated_function_may_raise(marks: list[Mark]) -> None:
    @step
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert ops(marks) == [BEGIN, END]


def test_other_callables(marks: list[Mark]) -> None:
    assert step(functools.partial(int, base=16))("ff") == 255
    assert step("named")(len)("abc") == 3
    assert ops(marks) == [BEGIN, END] * 2


@step("count")
def count(limit: int) -> Generator[int, int, str]:
    total = 0
    for number in range(limit):
        try:
            total += (yield number) or 0
        except ValueError:
            total = 1000
    return f"total {total}"


@step("count")
async def acount(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        try:
            got = yield number
        except ValueError:
            got = 1000
        await asyncio.sleep(0)
        if got:
            yield got


def test_a_generator_is_one_step(marks: list[Mark]) -> None:
    items = count(3)
    assert not marks
    assert next(items) == 0
    assert items.send(5) == 1
    assert items.throw(ValueError()) == 2
    assert ops(marks) == [BEGIN]
    with pytest.raises(StopIteration, match="total 1000"):
        next(items)
    assert ops(marks) == [BEGIN, END]


def test_a_generator_left_early(marks: list[Mark]) -> None:
    closed = []

    @step
    def numbers() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    items = numbers()
    next(items)
    items.close()
    assert closed
    assert ops(marks) == [BEGIN, END]


def test_the_consumer_of_a_generator_is_outside_its_step(marks: list[Mark]) -> None:
    left, right = socket.socketpair()

    @step
    def numbers() -> Iterator[bool]:
        yield bind(left)
        yield bind(left)

    with left, right:
        for inside in numbers():
            assert inside
            assert not bind(right)
        with step() as outer:
            for inside in numbers():
                assert inside
                assert bind(right)
                assert marks[-1].step_id == outer.id


def test_an_async_generator_is_one_step(marks: list[Mark]) -> None:
    async def main() -> list[int]:
        items = acount(3)
        assert not marks
        found = [await anext(items), await items.asend(7), await anext(items)]
        found.append(await items.athrow(ValueError()))
        assert ops(marks) == [BEGIN]
        found += [item async for item in items]
        return found

    assert asyncio.run(main()) == [0, 7, 1, 1000, 2]
    assert ops(marks) == [BEGIN, END]


def test_an_async_generator_left_early(marks: list[Mark]) -> None:
    left, right = socket.socketpair()

    async def main() -> None:
        async for _ in acount(3):
            assert not bind(left)
            break
        gone = acount(3)
        await anext(gone)
        await gone.aclose()

    with left, right:
        asyncio.run(main())
    assert sorted(ops(marks)) == [BEGIN, BEGIN, END, END]
