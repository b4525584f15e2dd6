# SPDX-License-Identifier: GPL-2.0-only
"""Versioned JSON documents: what --json prints and --save writes, read back strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agenttune.errors import InputError
from agenttune.host.cpumask import CpuMask

T = TypeVar("T")

# A host of 1024 CPUs and 8192 vectors saves to about 30 MB.
MAX_BYTES = 256 << 20


def schema_name(kind: str, version: int = 1) -> str:
    """The value of a document's 'schema' member, such as 'agenttune.plan/1'."""
    return f"agenttune.{kind}/{version}"


def encode(kind: str, value: object) -> bytes:
    """One JSON document, `{"schema": "agenttune.KIND/1", "KIND": value}`, ending in a newline."""
    return msgspec.json.format(encode_line(kind, value), indent=2) + b"\n"


def encode_line(kind: str, value: object) -> bytes:
    """The same document on one line, for streams of them."""
    body = {"schema": schema_name(kind), kind: value}
    return msgspec.json.encode(body, enc_hook=_encode_hook) + b"\n"


def decode(kind: str, shape: type[T], data: bytes, where: str) -> T:
    """The value of a document of this kind. Raises InputError naming `where` and what is wrong."""
    try:
        envelope = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        found = msgspec.json.decode(envelope["schema"], type=str) if "schema" in envelope else ""
    except msgspec.DecodeError as error:
        raise InputError(
            f"{where}: not an agenttune document: {error}",
            hint="The file may be truncated; make it again.",
        ) from error
    if found != schema_name(kind) or kind not in envelope:
        raise InputError(
            f"{where}: holds {found or 'no schema name'!r}, not {schema_name(kind)!r}",
            hint=f"Give a file that this version's --save or --json wrote for a {kind}.",
        )
    try:
        return msgspec.json.decode(envelope[kind], type=shape, dec_hook=_decode_hook)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}", hint="The file was changed or damaged.") from error


def load(kind: str, shape: type[T], path: Path) -> T:
    """Read a saved document. Raises InputError for a file that is missing, too large or wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB")
    return decode(kind, shape, data, str(path))


def json_schema(kind: str, shape: type[Any]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document of this kind."""
    (body,), components = msgspec.json.schema_components(
        [shape], schema_hook=_schema_hook, ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_name(kind),
        "type": "object",
        "properties": {"schema": {"const": schema_name(kind)}, kind: body},
        "required": ["schema", kind],
        "additionalProperties": False,
        "$defs": components,
    }


def _encode_hook(value: object) -> object:
    if isinstance(value, CpuMask):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


def _decode_hook(shape: type, value: object) -> object:
    if shape is CpuMask and isinstance(value, str):
        return CpuMask.parse_list(value)
    raise NotImplementedError(f"no value of {shape.__name__} from {type(value).__name__}")


def _schema_hook(shape: type) -> dict[str, Any]:
    if shape is CpuMask:
        return {"type": "string", "description": "CPU list, such as '0-3,8'; empty for none"}
    raise NotImplementedError(f"no JSON schema for {shape.__name__}")
