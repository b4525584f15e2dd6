# SPDX-License-Identifier: GPL-2.0-only
"""YAML text to nodes that know their position, refusing whatever makes YAML unsafe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agenttune.errors import InputError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 6

# Control characters, line separators that editors do not count as lines, and the byte order mark.
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def error(self, wrong: str, right: str) -> InputError:
        return InputError(f"{self}: {wrong}; {right}")


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """One value as written; `plain` when it has no quotes and is no block."""

    mark: Mark
    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class YamlList:
    mark: Mark
    items: tuple[YamlNode, ...]


@dataclass(frozen=True, slots=True)
class YamlMap:
    mark: Mark
    entries: tuple[tuple[YamlScalar, YamlNode], ...]


YamlNode = YamlScalar | YamlList | YamlMap


def shown(text: str) -> str:
    """User text that is safe and short enough to print."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def parse_yaml(file: str, data: bytes) -> YamlMap:
    """Parse one document whose top is a mapping. Raises InputError with file:line:column.

    Works on ruamel's event stream, so nothing is constructed, resolved or expanded: anchors,
    aliases, tags and merge keys are refused at the first event that carries one.
    """
    return _document(file, _events(file, _decode(file, data)))


def _events(file: str, text: str) -> Iterator[yaml_events.Event]:
    last = Mark(file, 1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            last = _mark(file, event)
            yield event
    except MarkedYAMLError as error:
        raise _syntax_error(file, error) from None
    except (YAMLError, ValueError, OverflowError):
        # int() of a long directive and chr() of an escape beyond Unicode are not caught by ruamel.
        raise last.error("what follows is not YAML", "write 'key: value' lines") from None


def _decode(file: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Mark(file, 1, 1).error(
            f"the file is larger than {MAX_BYTES // 1024} KiB", "a profile needs about 1 KiB"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = _place(file, data[: error.start].decode())
        wrong = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise place.error(wrong, "save the file as UTF-8") from None
    bad = _FORBIDDEN.search(text)
    if bad:
        raise _forbidden(_place(file, text[: bad.start()]), bad.group())
    return text


def _forbidden(mark: Mark, character: str) -> InputError:
    return mark.error(f"character U+{ord(character):04X} is not allowed", "remove it")


def _place(file: str, before: str) -> Mark:
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _syntax_error(file: str, error: MarkedYAMLError) -> InputError:
    found = error.problem_mark or error.context_mark
    mark = Mark(file, found.line + 1, found.column + 1) if found else Mark(file, 1, 1)
    problem = error.problem or "this is not YAML"
    if r"'\t'" in problem:
        return mark.error("a tab is used for indentation", "use spaces")
    return mark.error(f"this is not YAML ({problem})", "write 'key: value' lines")


def _document(file: str, events: Iterator[yaml_events.Event]) -> YamlMap:
    next(events)  # stream start
    start = next(events)
    if isinstance(start, yaml_events.StreamEndEvent):
        raise Mark(file, 1, 1).error("the file is empty", "write at least a description")
    if isinstance(start, yaml_events.DocumentStartEvent) and (start.version or start.tags):
        raise _mark(file, start).error("a YAML directive is not allowed", "remove '%' lines above")
    node = _node(file, events, next(events), 1)
    next(events)  # document end
    after = next(events)
    if not isinstance(after, yaml_events.StreamEndEvent):
        raise _mark(file, after).error("a second document starts here", "use one file for each")
    if not isinstance(node, YamlMap):
        raise node.mark.error("a profile is a mapping", "write 'key: value' lines")
    return node


def _node(
    file: str, events: Iterator[yaml_events.Event], event: yaml_events.Event, depth: int
) -> YamlNode:
    mark = _mark(file, event)
    _refuse_indirection(mark, event)
    if depth > MAX_DEPTH:
        raise mark.error(f"more than {MAX_DEPTH} levels of nesting", "a profile has two")
    if isinstance(event, yaml_events.ScalarEvent):
        return _scalar(mark, event)
    if isinstance(event, yaml_events.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml_events.SequenceEndEvent):
            items.append(_node(file, events, event, depth + 1))
        return YamlList(mark, tuple(items))
    return _map(mark, events, depth)


def _scalar(mark: Mark, event: yaml_events.ScalarEvent) -> YamlScalar:
    # An escape in double quotes can still make what the file itself may not hold.
    bad = _FORBIDDEN.search(event.value)
    if bad:
        raise _forbidden(mark, bad.group())
    return YamlScalar(mark, event.value, plain=event.style in (None, ""))


def _map(mark: Mark, events: Iterator[yaml_events.Event], depth: int) -> YamlMap:
    entries: list[tuple[YamlScalar, YamlNode]] = []
    lines: dict[str, int] = {}
    while not isinstance(event := next(events), yaml_events.MappingEndEvent):
        key = _node(mark.file, events, event, depth + 1)
        if not isinstance(key, YamlScalar):
            raise key.mark.error("a key must be a word", "write 'key: value' lines")
        if key.text == "<<":
            raise key.mark.error("merge keys are not allowed", "use 'include: NAME' at the top")
        if key.text in lines:
            raise key.mark.error(
                f"key {shown(key.text)} was already given in line {lines[key.text]}", "keep one"
            )
        lines[key.text] = key.mark.line
        value = _node(mark.file, events, next(events), depth + 1)
        if isinstance(value, YamlScalar) and value.plain and not value.text:
            # The parser places a missing value at the next token, in another line.
            value = replace(value, mark=key.mark)
        entries.append((key, value))
    return YamlMap(mark, tuple(entries))


def _refuse_indirection(mark: Mark, event: yaml_events.Event) -> None:
    if isinstance(event, yaml_events.AliasEvent):
        raise mark.error("aliases ('*name') are not allowed", "write the value out")
    assert isinstance(event, yaml_events.NodeEvent)
    if event.anchor is not None:
        raise mark.error("anchors ('&name') are not allowed", "write the value where it is used")
    if getattr(event, "tag", None) is not None:
        raise mark.error("tags ('!name') are not allowed", "write the plain value")


def _mark(file: str, event: yaml_events.Event) -> Mark:
    start = event.start_mark
    return Mark(file, start.line + 1, start.column + 1)
