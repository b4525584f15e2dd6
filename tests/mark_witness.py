# SPDX-License-Identifier: GPL-2.0-only
"""Marks as a libc would be asked for them, or as strace sees the kernel asked."""

from __future__ import annotations

import ctypes
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from agenttune import steps

CALLBACK = ctypes.PYFUNCTYPE(None, ctypes.c_int, *(ctypes.c_uint64,) * 4)
BEGIN, END, BIND, UNBIND = 1, 2, 3, 4
# "<unfinished ...>" stands in the place of the bracket when another thread's call comes between.
MARK = re.compile(r"(\d+) +prctl\(0x41475354, (\w+), (\w+), (\w+), (\w+)(\) += (.*)| <unfinished)")


@dataclass(frozen=True)
class Mark:
    tid: int
    op: int
    kind: int
    name_address: int
    step_id: int
    extra: int
    budget: int
    answer: str | None

    @property
    def budget_us(self) -> int:
        return self.budget & 0xFFFFFFFF

    @property
    def lane(self) -> int:
        return self.budget >> 32

    @property
    def call(self) -> tuple[int, int, int, int]:
        return self.op, self.step_id, self.extra, self.budget_us


@dataclass(frozen=True)
class Witnessed:
    marks: tuple[Mark, ...]
    names: tuple[bytes, ...]
    said: tuple[str, ...]

    def of(self, tid: int) -> list[Mark]:
        return [mark for mark in self.marks if mark.tid == tid]


def split(word: int) -> tuple[int, int, int]:
    """op, kind and the name's address."""
    return word & 0xFF, word >> 8 & 0xFF, word >> 16


def record(monkeypatch: pytest.MonkeyPatch) -> list[Mark]:
    """The marks this process makes from now on, as a C function in the place of prctl() sees them.

    Like prctl() it has no prototype that Python knows: it gets what the registers hold.
    """
    seen: list[Mark] = []

    def prctl(option: int, word: int, *words: int) -> None:
        assert option == 0x41475354
        seen.append(Mark(threading.get_native_id(), *split(word), *words, None))

    callback = CALLBACK(prctl)
    unknown = ctypes.PYFUNCTYPE(None)(ctypes.cast(callback, ctypes.c_void_p).value)

    def mark(*words: object, kept: object = callback) -> None:
        unknown(*words)

    monkeypatch.setattr(steps, "_mark", mark)
    return seen


def witness(command: Sequence[str | Path], log: Path) -> Witnessed:
    """Runs a program that prints its pid when its marks are made, then waits for a line.

    Names are those of the begins of the process with that pid, read from it while it waits.
    """
    options = ["-f", "-qq", "-e", "trace=prctl", "-e", "raw=prctl", "-e", "signal=none"]
    with subprocess.Popen(
        ["strace", *options, "-o", log, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        first = program.stdout.readline()
        assert first.strip(), f"the program said nothing; exit status {program.wait()}"
        pid = int(first.split()[0])
        names = tuple(
            read_name(pid, mark.name_address)
            for mark in parse(log.read_text())
            if mark.op == BEGIN and mark.name_address
        )
        rest, _ = program.communicate("go on\n", timeout=30)
    assert program.returncode == 0
    return Witnessed(tuple(parse(log.read_text())), names, (*first.split(), *rest.split()))


def read_name(pid: int, address: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(23).split(b"\0")[0]


def parse(log: str) -> list[Mark]:
    return [
        Mark(
            int(tid), *split(int(word, 16)), int(step, 16), int(extra, 16), int(budget, 16), answer
        )
        for tid, word, step, extra, budget, _, answer in MARK.findall(log)
    ]
