# SPDX-License-Identifier: GPL-2.0-only
"""Marks the steps of an agent, so that agenttune can say what delayed them.

A mark is one prctl() that every kernel refuses; include/agenttune.h describes its words. Nothing
here raises. Where no mark can be made (no Linux, no libc, 32 bits), nothing happens.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
import time
from contextvars import ContextVar

# What type checkers know: to import typing takes longer than the rest together.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from typing import Any, Literal, TypeVar, overload

    F = TypeVar("F", bound=Callable[..., Any])
    Kind = Literal["tool", "model", "other"]
else:

    def overload(signature: object) -> object:
        return signature


_OPTION = 0x41475354  # "AGST"
_BEGIN, _END, _BIND, _UNBIND = 1, 2, 3, 4
_KINDS = {"other": 0, "tool": 1, "model": 2}
_NAME_BYTES, _USER_ADDRESS_LIMIT = 23, 1 << 47
_UINT32_MAX, _UINT64_MAX = (1 << 32) - 1, (1 << 64) - 1
# include/uapi/asm-generic/socket.h
_SOL_SOCKET, _SO_COOKIE = 1, 57
# Names kept ready for the life of the process, and their length; others are copied each time.
_KEPT_NAMES, _KEPT_NAME_LENGTH, _MOST_NESTED = 1024, 64, 64


def _find_prctl() -> tuple[Callable[..., None], Callable[[int], Any]]:
    """prctl(), and what makes one of its words; argtypes would make all five in every call."""
    try:
        from ctypes import PyDLL, c_ulong, sizeof

        if sys.platform != "linux" or sizeof(c_ulong) != 8:
            return (lambda *_: None), int
        prctl = PyDLL(None).prctl  # which keeps the GIL: no wait for another thread
        prctl.restype = None
        return prctl, c_ulong.from_param
    except Exception:
        return (lambda *_: None), int


class _Thread(threading.local):
    """One token per thread; unlike a thread's number it is never given out again."""

    def __init__(self) -> None:
        self.token = object()


_mark, _word_of = _find_prctl()
_end, _bind, _unbind, _none = map(_word_of, (_END, _BIND, _UNBIND, 0))
_here = _Thread()
_next_id = itertools.count(1).__next__
_step_var: ContextVar[Step | None] = ContextVar("agenttune.step", default=None)
_current, _set_current = _step_var.get, _step_var.set
_now_ns = time.monotonic_ns  # CLOCK_MONOTONIC, as far as marks are made
_new, _modules = object.__new__, sys.modules
# kind → name → the word of its begin mark, with the buffer that the word points to.
_begins: dict[str, dict[str | None, tuple[Any, object]]] = {kind: {} for kind in _KINDS}


def _after_fork_in_child() -> None:
    """A forked child has no steps: those it inherited belong to no thread of its own."""
    global _next_id  # noqa: PLW0603
    _here.token = object()
    _next_id = itertools.count(1).__next__


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@overload
def step(name: F, /) -> F: ...


@overload
def step(  # noqa: F811
    name: str | None = None,
    *,
    kind: Kind = "other",
    deadline: float | None = None,
    budget: float | None = None,
) -> Step: ...


def step(  # noqa: F811
    name: Any = None,
    *,
    kind: Any = "other",
    deadline: float | None = None,
    budget: float | None = None,
) -> Any:
    """One step of an agent: a context manager (with, async with) and a decorator.

    name: what to call it, its first 23 bytes of UTF-8. A decorated function gives its own name.
    kind: 'tool', 'model' or 'other'; anything else counts as 'other'.
    deadline: seconds from the begin by which the step should be over.
    budget: seconds of latency the step may take, kept in us; at most 2**32 - 1 us (71 minutes).
    Both are recorded only: nothing is cancelled. What is no number counts as not given.

    Functions and generators, async ones too, can be decorated. A generator's step lasts from its
    first item to its end, the consumer's time between the items included. Never raises.
    """
    try:
        begin = _begins[kind][name]
    except Exception:
        if callable(name):
            return step(kind=kind, deadline=deadline, budget=budget)(name)
        begin = _make_begin(name, kind)
    made = _new(Step)
    made.id = 0
    made._name = name
    made._kind = kind
    made._begin = begin
    made._limits = None if deadline is None and budget is None else (deadline, budget)
    made._owner = None
    made._cookies = None
    return made


def bind(sock: object) -> bool:
    """Ties a socket to the current step, so that what arrives on it is credited to that step.

    sock: a socket, anything with get_extra_info('socket') (asyncio's transports and
    StreamWriter), or a file descriptor. The current step is the innermost open one of this task
    or thread. The step's end undoes the tie. False: no such step, or no socket. Never raises.
    """
    try:
        current = _nearest_open(_current())
        return current is not None and current.bind(sock)
    except Exception:
        return False


class Step:
    """One step; step() makes it.

    It belongs to the thread that begins it, and may be used again once it has ended.
    id: its number in this process, 0 before the begin; the reports name it.
    """

    __slots__ = (
        "_begin", "_cookies", "_id", "_kind", "_limits", "_name", "_outer", "_owner", "id",
    )  # fmt: skip
    id: int
    _id: Any
    _name: Any
    _kind: Any
    _begin: tuple[Any, object]
    _limits: tuple[float | None, float | None] | None
    _owner: object | None
    _outer: Step | None
    _cookies: set[int] | None

    def begin(self) -> Step:
        """Begins it, ending first what it stood for; for frameworks that offer only callbacks."""
        try:
            if self._owner is not None:
                self.end()
            self._outer, self._owner = _current(), _here.token
            self.id = number = _next_id()
            self._id = step_id = _word_of(number)
            _set_current(self)
            deadline, budget = _none, _lane() if "asyncio" in _modules else 0
            if self._limits is not None:
                deadline = _word_of(_deadline_ns(self._limits[0]))
                budget |= _budget_us(self._limits[1])
            _mark(_OPTION, self._begin[0], step_id, deadline, _word_of(budget) if budget else _none)
        except Exception:
            pass
        return self

    def end(self) -> bool:
        """Ends it. False, and no mark, on another thread, in a forked child, or when not open."""
        try:
            owner, self._owner = self._owner, None
            mine = owner is _here.token
            if mine:
                if self._cookies is not None:
                    for cookie in self._cookies:
                        _mark(_OPTION, _unbind, self._id, _word_of(cookie), _none)
                _mark(_OPTION, _end, self._id, _none, _none)
            if owner is not None:
                self._cookies = None
                if (outer := self._outer) is not None and outer._owner is None:
                    self._outer = outer = _nearest_open(outer)
                if _current() is self:
                    _set_current(outer)
            return mine
        except Exception:
            return False

    def bind(self, sock: object) -> bool:
        """Ties a socket to this step, as agenttune.bind() does to the current one."""
        return self._tie(_bind, sock)

    def unbind(self, sock: object) -> bool:
        """Unties a socket before the step's end, as when it goes back to a pool."""
        return self._tie(_unbind, sock)

    def _tie(self, operation: object, sock: object) -> bool:
        try:
            if self._owner is not _here.token or not (cookie := _cookie(sock)):
                return False
            if self._cookies is None:
                self._cookies = set()
            if operation is _bind:
                self._cookies.add(cookie)
            else:
                self._cookies.discard(cookie)
            _mark(_OPTION, operation, self._id, _word_of(cookie), _none)
            return True
        except Exception:
            return False

    def _suspend(self) -> None:
        """Makes the outer step current while a generator waits for its consumer."""
        if _current() is self:
            _set_current(_nearest_open(self._outer))

    def _resume(self) -> None:
        self._outer = _current()
        _set_current(self)

    def _again(self) -> Step:
        deadline, budget = self._limits or (None, None)
        return step(self._name, kind=self._kind, deadline=deadline, budget=budget)

    __enter__ = begin

    def __exit__(self, _kind: object, _error: object, _trace: object) -> None:
        self.end()

    async def __aenter__(self) -> Step:
        return self.begin()

    async def __aexit__(self, *_error: object) -> None:
        self.end()

    def __call__(self, function: F) -> F:
        """Decorates a function: every call, and every generator it makes, is a step."""
        try:
            model = self._again()
            model._name = getattr(function, "__name__", None) if self._name is None else self._name
            return _decorate(function, model._again)  # type: ignore[no-any-return]
        except Exception:
            return function


def _nearest_open(found: Step | None) -> Step | None:
    """Bounded: steps that overlap and are used again may be each other's outer step."""
    for _ in range(_MOST_NESTED):
        if found is None or found._owner is not None:
            return found
        found = found._outer
    return None


def _make_begin(name: Any, kind: object) -> tuple[Any, object]:
    """The word of a begin mark; without the name, or the kind, where it is of no use."""
    word = _BEGIN
    try:
        import ctypes

        kind = kind if isinstance(kind, str) and kind in _KINDS else "other"
        word |= _KINDS[kind] << 8
        text = "" if name is None else str(name)
        kept = text.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore").encode()
        buffer = ctypes.create_string_buffer(kept)
        address = ctypes.addressof(buffer) if kept else 0
        word |= (address if address < _USER_ADDRESS_LIMIT else 0) << 16
        small = type(name) is str and len(name) <= _KEPT_NAME_LENGTH
        if name is None or (small and len(_begins[kind]) < _KEPT_NAMES):
            return _begins[kind].setdefault(name, (_word_of(word), buffer))
        return _word_of(word), buffer
    except Exception:
        return _word_of(word), None


def _deadline_ns(seconds: float | None) -> int:
    """The moment that many seconds ahead, in CLOCK_MONOTONIC ns; 0 for what is no such moment."""
    try:
        moment = 0 if seconds is None else _now_ns() + int(seconds * 1e9)
        return moment if 0 < moment <= _UINT64_MAX else 0
    except Exception:
        return 0


def _lane() -> int:
    """Tells the asyncio tasks of a thread apart; 0 outside them."""
    asyncio = _modules["asyncio"]
    task = asyncio.current_task() if asyncio._get_running_loop() else None
    return 0 if task is None else (id(task) >> 4 & _UINT32_MAX or 1) << 32


def _budget_us(seconds: float | None) -> int:
    try:
        whole_us = 0 if seconds is None or seconds <= 0 else int(seconds * 1e6) or 1
        return whole_us if whole_us < _UINT32_MAX else _UINT32_MAX
    except Exception:
        return 0


def _cookie(sock: Any) -> int:
    """SO_COOKIE; 0 for what is no open socket."""
    if hasattr(sock, "get_extra_info"):
        sock = sock.get_extra_info("socket")
    if not hasattr(sock, "getsockopt"):
        from socket import socket

        with socket(fileno=os.dup(sock if isinstance(sock, int) else sock.fileno())) as copy:
            return _cookie(copy)
    value = sock.getsockopt(_SOL_SOCKET, _SO_COOKIE, 8)
    return int.from_bytes(value, sys.byteorder) if len(value) == 8 else 0


def _decorate(function: Any, make: Callable[[], Step]) -> Any:
    """The same function, each call of it in a step that make() gives."""
    import inspect

    if inspect.isasyncgenfunction(function):
        wrap = _async_generator_step
    elif inspect.isgeneratorfunction(function):
        wrap = _generator_step
    elif inspect.iscoroutinefunction(function):
        wrap = _coroutine_step
    else:
        wrap = _call_step
    return functools.wraps(function)(wrap(function, make))


def _call_step(function: Any, make: Callable[[], Step]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return call


def _coroutine_step(function: Any, make: Callable[[], Step]) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return await function(*args, **kwargs)

    return call


def _generator_step(function: Any, make: Callable[[], Step]) -> Any:
    def items(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with make() as mark:
            inner = function(*args, **kwargs)
            advance, sent = inner.send, None
            while True:
                try:
                    item = advance(sent)
                except StopIteration as stop:
                    return stop.value
                mark._suspend()
                try:
                    advance, sent = inner.send, (yield item)
                except BaseException as error:
                    advance, sent = inner.throw, error
                mark._resume()

    return items


def _async_generator_step(function: Any, make: Callable[[], Step]) -> Any:
    async def items(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with make() as mark:
            inner = function(*args, **kwargs)
            advance, sent = inner.asend, None
            while True:
                try:
                    item = await advance(sent)
                except StopAsyncIteration:
                    return
                mark._suspend()
                try:
                    advance, sent = inner.asend, (yield item)
                except BaseException as error:
                    advance, sent = inner.athrow, error
                mark._resume()

    return items
