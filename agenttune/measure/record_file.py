# SPDX-License-Identifier: GPL-2.0-only
"""Record files: a Trace as lines of JSON under a seal, written whole or not at all.

    {"schema":"agenttune.trace/1","buckets":[names],"trace":{all but the steps}}
    {"step":{...}}                                    one line for each step
    {"seal":{"steps":N,"sha256":"..."}}               of every byte above

A file that was cut, damaged or written by another version is refused; nothing of it is used.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from agenttune.document import schema_name
from agenttune.errors import AgenttuneError, InputError
from agenttune.measure.trace import Bucket, Step, Trace

SCHEMA = schema_name("trace")

# A header with the names of 8192 vectors takes 1 MB; a step with eight waits 12 kB.
MAX_LINE = 64 << 20

_AGAIN = "Record again with 'agenttune steps --save FILE', or copy the file again."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Header:
    schema: str
    buckets: tuple[str, ...]
    trace: Trace


@dataclass(frozen=True, slots=True)
class _StepLine:
    step: Step


def check_target(path: Path) -> None:
    """Raises InputError where write_trace() could not write; to be asked before a recording."""
    _require_regular_or_absent(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(
            f"{path}: {path.parent} is no folder that this process may write to",
            hint="Give a FILE in a folder with space that you may write to.",
        )


def write_trace(path: Path, trace: Trace) -> None:
    """Write a record file. Raises AgenttuneError when that fails; `path` is then as it was.

    Raises InputError when `path` exists and is no regular file.
    """
    _require_regular_or_absent(path)
    # Beside the target: a rename does not cross file systems.
    temporary = path.with_name(f".agenttune-{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            for line in _lines(trace):
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise AgenttuneError(
            f"{path}: cannot be written: {error.strerror}",
            hint="Give a FILE in a folder with space that you may write to.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_trace(path: Path, select: Callable[[Iterable[Step]], Iterable[Step]] = tuple) -> Trace:
    """Read a record file, checking all of it. Raises InputError naming the file and the line.

    `select` picks the steps to keep from all of them, in the order they were recorded; the rest is
    never held in memory.
    """
    with _open_regular(path) as file:
        try:
            header = _header(path, file.readline(MAX_LINE))
            file.seek(0)
            _check_seal(path, file)
            file.seek(0)
            file.readline(MAX_LINE)
            return replace(header.trace, steps=tuple(select(_steps(path, file))))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(trace: Trace) -> Iterator[bytes]:
    digest = hashlib.sha256()
    header = _Header(SCHEMA, tuple(Bucket), replace(trace, steps=()))
    for value in (header, *map(_StepLine, trace.steps)):
        line = msgspec.json.encode(value) + b"\n"
        digest.update(line)
        yield line
    yield _seal(len(trace.steps), digest.hexdigest())


def _seal(steps: int, digest: str) -> bytes:
    return msgspec.json.encode({"seal": {"steps": steps, "sha256": digest}}) + b"\n"


def _header(path: Path, line: bytes) -> _Header:
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        schema = msgspec.json.decode(fields.get("schema", b'""'), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}:1: not the first line of a record file: {error}",
            hint="Give a file that 'agenttune steps --save FILE' wrote.",
        ) from error
    if schema != SCHEMA:
        raise InputError(
            f"{path}:1: holds {schema or 'no schema name'!r}; this version reads {SCHEMA!r}",
            hint="Use the version of agenttune that recorded it, or record again with this one.",
        )
    header = _decode(path, 1, line, _Header)
    if header.buckets != tuple(Bucket):
        raise InputError(
            f"{path}:1: its buckets are not those of this version",
            hint="Use the version of agenttune that recorded it, or record again with this one.",
        )
    return header


def _check_seal(path: Path, file: BinaryIO) -> None:
    digest, last, number = hashlib.sha256(), b"", 0
    while line := file.readline(MAX_LINE):
        digest.update(last)
        last, number = line, number + 1
    if last == _seal(number - 2, digest.hexdigest()):
        return
    if last.startswith(b'{"seal":') and last.endswith(b"\n"):
        raise InputError(
            f"{path}: damaged: its {number - 1} lines do not match their checksum", hint=_AGAIN
        )
    raise InputError(f"{path}:{number}: truncated: no seal after this line", hint=_AGAIN)


def _steps(path: Path, file: BinaryIO) -> Iterator[Step]:
    number = 2
    while line := file.readline(MAX_LINE):
        if line.startswith(b'{"seal":'):
            return
        step = _decode(path, number, line, _StepLine).step
        if len(step.buckets_ns) != len(Bucket):
            raise InputError(f"{path}:{number}: {len(step.buckets_ns)} buckets", hint=_AGAIN)
        yield step
        number += 1


def _decode(path: Path, number: int, line: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}:{number}: {error}", hint=_AGAIN) from error


def _open_regular(path: Path) -> BinaryIO:
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}",
            hint="Give a file that 'agenttune steps --save FILE' wrote.",
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: not a regular file", hint="Give a record file.")
    return os.fdopen(handle, "rb")


def _require_regular_or_absent(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: is there already and no regular file; it is left alone",
            hint="Give another FILE.",
        )
