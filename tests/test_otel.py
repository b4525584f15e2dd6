# SPDX-License-Identifier: GPL-2.0-only
"""GenAI spans of the real OpenTelemetry SDK become steps."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading

import pytest
from mark_witness import BEGIN, BIND, END, UNBIND, Mark, record
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer

import agenttune
from agenttune import otel
from agenttune.otel import StepSpanProcessor


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> list[Mark]:
    return record(monkeypatch)


@pytest.fixture
def processor() -> StepSpanProcessor:
    return StepSpanProcessor()


@pytest.fixture
def tracer(processor: StepSpanProcessor) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("test")


def does(operation: object, **more: str) -> dict[str, object]:
    return {"gen_ai.operation.name": operation, **more}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("execute_tool", 1), ("chat", 2), ("text_completion", 2), ("generate_content", 2),
     ("invoke_agent", 0)],
)  # fmt: skip
def test_known_operations(marks: list[Mark], tracer: Tracer, operation: str, kind: int) -> None:
    with tracer.start_as_current_span("a span", attributes=does(operation)):
        assert [(mark.op, mark.kind) for mark in marks] == [(BEGIN, kind)]
        assert ctypes.string_at(marks[0].name_address) == b"a span"
    assert [mark.call[:2] for mark in marks[1:]] == [(END, marks[0].step_id)]


def test_a_tool_gives_its_name(marks: list[Mark], tracer: Tracer) -> None:
    tool = {"gen_ai.tool.name": "search"}
    for operation, name in [("execute_tool", b"search"), ("chat", b"a span")]:
        span = tracer.start_span("a span", attributes=does(operation, **tool))
        assert ctypes.string_at(marks[-1].name_address) == name
        span.end()


@pytest.mark.parametrize("attributes", [None, {}, {"x": 1}, does("embeddings"), does(["chat"])])
def test_other_spans_are_left_alone(
    marks: list[Mark], tracer: Tracer, attributes: dict[str, object] | None
) -> None:
    with tracer.start_as_current_span("a span", attributes=attributes):
        pass
    assert not marks


def test_spans_nobody_records_are_left_alone(
    marks: list[Mark], processor: StepSpanProcessor
) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    with provider.get_tracer("test").start_as_current_span("x", attributes=does("chat")):
        pass
    assert not marks


def test_nested_spans_and_bind(marks: list[Mark], tracer: Tracer) -> None:
    left, right = socket.socketpair()
    with left, right, tracer.start_as_current_span("agent", attributes=does("invoke_agent")):
        tool_span = tracer.start_as_current_span("tool", attributes=does("execute_tool"))
        with tool_span, tracer.start_as_current_span("GET"):
            assert agenttune.bind(left)
        assert agenttune.bind(right)
    agent, tool = marks[0].step_id, marks[1].step_id
    assert [mark.call[:2] for mark in marks] == [
        (BEGIN, agent), (BEGIN, tool), (BIND, tool), (UNBIND, tool), (END, tool),
        (BIND, agent), (UNBIND, agent), (END, agent),
    ]  # fmt: skip
    assert not agenttune.bind(0)


def test_overlapping_tasks(marks: list[Mark], tracer: Tracer, processor: StepSpanProcessor) -> None:
    async def call(number: int) -> None:
        with tracer.start_as_current_span("call", attributes=does("execute_tool")):
            await asyncio.sleep(0.001 * (8 - number))

    async def main() -> None:
        await asyncio.gather(*(call(number) for number in range(8)))

    asyncio.run(main())
    assert [mark.op for mark in marks] == [BEGIN] * 8 + [END] * 8
    assert {mark.step_id for mark in marks[:8]} == {mark.step_id for mark in marks[8:]}
    assert processor.dropped == 0
    assert not processor._open


def test_a_span_ended_on_another_thread_is_dropped(
    marks: list[Mark], tracer: Tracer, processor: StepSpanProcessor
) -> None:
    span = tracer.start_span("x", attributes=does("chat"))
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()
    assert [mark.op for mark in marks] == [BEGIN]
    assert processor.dropped == 1


def test_a_span_ended_in_a_forked_child_is_dropped(
    marks: list[Mark], tracer: Tracer, processor: StepSpanProcessor
) -> None:
    with tracer.start_as_current_span("x", attributes=does("chat")) as span:
        child = os.fork()
        if child == 0:
            try:
                span.end()
                os._exit(0 if (len(marks), processor.dropped) == (1, 1) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [mark.op for mark in marks] == [BEGIN, END]
    assert processor.dropped == 0


def test_spans_never_ended_are_bounded(
    marks: list[Mark], tracer: Tracer, processor: StepSpanProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "_MOST_OPEN", 3)
    spans = [tracer.start_span("x", attributes=does("chat")) for _ in range(5)]
    assert (len(marks), processor.dropped) == (3, 2)
    for span in spans:
        span.end()
    assert [mark.op for mark in marks] == [BEGIN] * 3 + [END] * 3
    assert processor.dropped == 2


def test_it_never_raises(marks: list[Mark], processor: StepSpanProcessor) -> None:
    processor.on_start(object())  # type: ignore[arg-type]
    processor.on_end(object())  # type: ignore[arg-type]
    assert processor.force_flush()
    processor.shutdown()
    assert not marks
