# SPDX-License-Identifier: GPL-2.0-only
"""The examples of docs/marking.md work as printed."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, Mark, record

import agenttune

TREE = Path(__file__).parent.parent
PAGE = (TREE / "docs/marking.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[Mark]:
    return record(monkeypatch)


@pytest.fixture
def names(marks: list[Mark]) -> dict[str, Any]:
    found: dict[str, Any] = {"asyncio": asyncio}
    for block in blocks("python"):
        exec(block, found)
    assert not marks
    return found


def test_python(marks: list[Mark], names: dict[str, Any]) -> None:
    assert names["search"]("x") == "X"
    assert names["plan"]("a b") == ["a", "b"]
    assert names["parse"](" x ") == "x"
    names["worker"](["y"])
    assert [mark.op for mark in marks[-2:]] == [BEGIN, END]
    del marks[-2:]
    callbacks = names["Callbacks"]()
    callbacks.on_tool_start(7, "grep")
    callbacks.on_tool_end(7)
    assert [mark.op for mark in marks] == [BEGIN, END] * 4
    assert [mark.kind for mark in marks[::2]] == [1, 2, 0, 1]
    assert [mark.budget_us for mark in marks[::2]] == [0, 2_000_000, 0, 0]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


def test_asyncio(marks: list[Mark], names: dict[str, Any]) -> None:
    async def main() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            return await names["fetch"](*server.sockets[0].getsockname())

    assert asyncio.run(main()) == b"ping\n"
    assert [mark.op for mark in marks] == [BEGIN, BIND, UNBIND, END]


def test_opentelemetry(marks: list[Mark], names: dict[str, Any]) -> None:
    tracer = names["provider"].get_tracer("test")
    with tracer.start_as_current_span("x", attributes={"gen_ai.operation.name": "chat"}):
        pass
    assert [mark.op for mark in marks] == [BEGIN, END]


def test_c() -> None:
    programs = blocks("c")
    assert len(programs) == 2
    declared = (
        "struct request;\nvoid send_and_receive(struct request *, int);\n"
        "int next_request(struct request *);\n"
    )
    include = Path(agenttune.__file__).parent / "include"
    command = ["clang", "-std=c99", "-Wall", "-Werror", f"-I{include}", "-fsyntax-only"]
    for program in programs:
        subprocess.run([*command, "-xc", "-"], input=declared + program, text=True, check=True)
