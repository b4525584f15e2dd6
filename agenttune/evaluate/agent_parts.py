# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a step of the built-in agent: each a call that does its work and returns."""

from __future__ import annotations

import json
import math
import mmap
import os
import random
import re
import select
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from agenttune.errors import InputError
from agenttune.evaluate.toolserver import ANSWER, REQUEST, make_json
from agenttune.evaluate.uring import Uring
from agenttune.evaluate.workload import CALLS, READS, Part, Sizes, Workload

_ANSWER_S = 30.0
# Logical blocks are at most this large, and O_DIRECT wants offsets of whole ones.
_BLOCK = 4096
_WORDS = re.compile(r"[a-z]+")

Action = Callable[[int], None]


def draw_size(draw: random.Random, sizes: Sizes) -> int:
    return round(math.exp(draw.uniform(math.log(sizes.low), math.log(sizes.high))))


class Tool:
    """A connection to the tool server. The answer is kept for the parser."""

    def __init__(self, workload: Workload, draw: random.Random, stack: ExitStack) -> None:
        host, _, port = workload.tool.rpartition(":")
        self._stream = stack.enter_context(socket.create_connection((host, int(port)), 10.0))
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # io_uring gives EAGAIN for a non-blocking socket instead of waiting.
        self._stream.setblocking(Part.URING_RPC in workload.parts)
        self._poll = stack.enter_context(select.epoll())
        self._poll.register(self._stream, select.EPOLLIN)
        # Forty sizes, made before the clock runs.
        sizes = [draw_size(draw, workload.rpc_bytes) for _ in range(40)]
        self._requests = [make_json(size) for size in sizes]
        self._draw, self._sizes = draw, sizes
        self._uring = stack.enter_context(Uring(4)) if Part.URING_RPC in workload.parts else None
        self.answer = b"{}"

    def call(self, _step: int) -> None:
        self._send()
        self._receive(self._by_epoll)

    def call_by_uring(self, step: int) -> None:
        self._send()
        self._receive(lambda room: self._by_uring(step, room))

    def _send(self) -> None:
        request = self._draw.choice(self._requests)
        wanted = self._draw.choice(self._sizes)
        data = memoryview(REQUEST.pack(len(request), wanted) + request)
        while data:
            try:
                data = data[self._stream.send(data) :]
            except BlockingIOError:
                select.select([], [self._stream], [], _ANSWER_S)

    def _receive(self, some: Callable[[int], bytes]) -> None:
        buffer = b""
        length = ANSWER.size
        while len(buffer) < length:
            data = some(length - len(buffer))
            if not data:
                raise ConnectionError("the tool closed the connection")
            buffer += data
            if length == ANSWER.size and len(buffer) >= length:
                length += ANSWER.unpack_from(buffer)[0]
        self.answer = buffer[ANSWER.size :]

    def _by_epoll(self, room: int) -> bytes:
        if not self._poll.poll(_ANSWER_S):
            raise TimeoutError(f"no answer from the tool in {_ANSWER_S:g} s")
        return self._stream.recv(max(room, 1 << 16))

    def _by_uring(self, step: int, room: int) -> bytes:
        assert self._uring is not None
        return self._uring.receive(self._stream.fileno(), min(room, 1 << 16), step)


class Data:
    """The file or block device that holds the agent's index; it is only read."""

    def __init__(self, workload: Workload, draw: random.Random, stack: ExitStack) -> None:
        self._draw, self._sizes = draw, workload.read_bytes
        self._file = os.open(workload.data, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, self._file)
        self._length = os.lseek(self._file, 0, os.SEEK_END) // _BLOCK * _BLOCK
        if self._length < 2 * self._sizes.high:
            raise InputError(f"{workload.data}: too small for reads of {self._sizes} bytes")
        self._direct = -1
        if Part.DIRECT_READ in workload.parts:
            self._direct = open_direct(workload.data)
            stack.callback(os.close, self._direct)
        # An anonymous mapping: O_DIRECT wants memory that is aligned to blocks.
        self._buffer = stack.enter_context(mmap.mmap(-1, -(-self._sizes.high // _BLOCK) * _BLOCK))
        self._map = stack.enter_context(mmap.mmap(self._file, self._length, prot=mmap.PROT_READ))

    def read_cached(self, _step: int) -> None:
        offset, size = self._place()
        os.preadv(self._file, [memoryview(self._buffer)[:size]], offset)

    def read_direct(self, _step: int) -> None:
        offset, size = self._place()
        os.preadv(self._direct, [memoryview(self._buffer)[:size]], offset)

    def retrieve(self, _step: int) -> None:
        """Touch every page of a stretch that was taken out of the page cache before."""
        offset, size = self._place()
        self._map.madvise(mmap.MADV_DONTNEED, offset, size)
        os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_DONTNEED)
        sum(self._map[at] for at in range(offset, offset + size, mmap.PAGESIZE))

    def _place(self) -> tuple[int, int]:
        size = -(-draw_size(self._draw, self._sizes) // _BLOCK) * _BLOCK
        return self._draw.randrange((self._length - size) // _BLOCK + 1) * _BLOCK, size


def open_direct(path: str) -> int:
    """Raises InputError where the file system has no direct reads."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read directly: {error.strerror}",
            hint="Give --data a file on a disk or a block device, or --mix tools.",
        ) from error


def parse(answer: bytes) -> int:
    """What an agent does with an answer: decode it, look through it, write it anew."""
    found = json.loads(answer)
    rows = sorted(found.get("rows", ()), key=lambda row: -row["score"])
    words = sum(len(_WORDS.findall(row["text"])) for row in rows)
    return words + len(json.dumps(rows))


def run_tool(_step: int) -> None:
    subprocess.run(
        [shutil.which("echo") or "/bin/echo", '{"ok": true}'],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )


def actions(workload: Workload, draw: random.Random, stack: ExitStack) -> Mapping[Part, Action]:
    """The parts that this workload's mix has."""
    wanted = workload.parts
    found: dict[Part, Action] = {Part.SUBPROCESS: run_tool}
    answer = make_json(4096)
    if CALLS & wanted.keys():
        tool = Tool(workload, draw, stack)
        found |= {Part.RPC: tool.call, Part.URING_RPC: tool.call_by_uring}
        found[Part.PARSE] = lambda _step: _parse_of(tool)
    else:
        found[Part.PARSE] = lambda _step: _ignore(parse(answer))
    if READS & wanted.keys():
        data = Data(workload, draw, stack)
        found |= {
            Part.CACHED_READ: data.read_cached,
            Part.DIRECT_READ: data.read_direct,
            Part.MMAP: data.retrieve,
        }
    return {part: found[part] for part in Part if part in wanted}


def _parse_of(tool: Tool) -> None:
    _ignore(parse(tool.answer))


def _ignore(_value: int) -> None:
    """Its making is the work."""
