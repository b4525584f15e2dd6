# SPDX-License-Identifier: GPL-2.0-only
"""Marks the GenAI spans of OpenTelemetry as steps; needs the optional extra agenttune[otel].

Attributes: github.com/open-telemetry/semantic-conventions-genai, in the state Development, as
opentelemetry-semantic-conventions 0.66b2 names them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from agenttune.steps import Step, step

if TYPE_CHECKING:
    from agenttune.steps import Kind

_KINDS: dict[object, Kind] = {
    "execute_tool": "tool",
    "chat": "model",
    "text_completion": "model",
    "generate_content": "model",
    "invoke_agent": "other",
}
# Spans that are never ended must not fill the memory.
_MOST_OPEN = 4096


class StepSpanProcessor(SpanProcessor):
    """Marks each recorded span whose gen_ai.operation.name, given at its start, is a known one.

    execute_tool is a step of kind 'tool', named by gen_ai.tool.name; chat, text_completion and
    generate_content are 'model', invoke_agent is 'other', named by the span. While such a span is
    open it is the current step of agenttune.bind(). Register it with add_span_processor() of a
    provider that runs its processors on the caller's thread, as they do by default. Never raises.

    dropped: spans left without a begin or an end: ended on another thread or in a forked child,
    or one of more than 4096 open at once.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._open: dict[tuple[int, int], Step] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        with contextlib.suppress(Exception):
            attributes = span.attributes or {}
            kind = _KINDS.get(attributes.get("gen_ai.operation.name"))
            if kind is None or span.context is None:
                return
            if len(self._open) >= _MOST_OPEN:
                self.dropped += 1
                return
            tool = attributes.get("gen_ai.tool.name") if kind == "tool" else None
            begun = step(str(tool or span.name), kind=kind)
            self._open[span.context.trace_id, span.context.span_id] = begun
            begun.begin()

    def on_end(self, span: ReadableSpan) -> None:
        with contextlib.suppress(Exception):
            if span.context is None:
                return
            begun = self._open.pop((span.context.trace_id, span.context.span_id), None)
            if begun is not None and not begun.end():
                self.dropped += 1
