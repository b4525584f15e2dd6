# SPDX-License-Identifier: GPL-2.0-only
"""What bcc compiled for this kernel, kept from one run of the tests to the next."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from agenttune.measure import bcc_compiler

# Beside what is kept, by key: a request, what the compiler said of it (nothing, when it did not
# come to that), and that someone answers.
WANTED, REFUSED, SERVED = ".wanted", ".refused", "served"
_UNUSED_SECONDS = 14 * 86_400
_PATIENCE_SECONDS = 120.0
_compile = bcc_compiler.compile_programs


class Compiled:
    """As bcc_compiler.compile_programs; one file of `place`, or none, for each set of programs.

    Compiling takes half a minute to three minutes in an emulated guest; where compile_for.py
    serves the place, it does that. What is looked up by is all that the compiler reads: the
    sources, the macros, the kernel whose headers these are, and bcc.
    """

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._known: dict[str, dict[str, bytes]] = {}

    def programs(
        self, source: Path, names: Sequence[str], macros: Mapping[str, str]
    ) -> dict[str, bytes]:
        """Each named program's instructions. Raises CompileError."""
        key = _key(source, names, macros)
        if key not in self._known:
            self._known[key] = self._read(key) or self._make(key, source, names, macros)
        return self._known[key]

    def _read(self, key: str) -> dict[str, bytes] | None:
        if self._place is None or not (file := self._place / key).exists():
            return None
        os.utime(file)
        return {name: bytes.fromhex(code) for name, code in json.loads(file.read_text()).items()}

    def _make(
        self, key: str, source: Path, names: Sequence[str], macros: Mapping[str, str]
    ) -> dict[str, bytes]:
        if self._place is not None and (self._place / SERVED).exists():
            said = _ask(self._place / key, source, names, macros)
            if (made := self._read(key)) is not None:
                return made
            if said:
                raise bcc_compiler.CompileError(source.name, said)
        made = _compile(source, names, macros)
        if self._place is not None:
            write_programs(self._place / key, made)
            _forget_unused(self._place)
        return made


def write_programs(file: Path, made: Mapping[str, bytes]) -> None:
    _write_whole(file, {name: code.hex() for name, code in made.items()})


def write_refusal(file: Path, said: str) -> None:
    """In place of `file`: what the compiler said."""
    _write_whole(file.with_suffix(REFUSED), said)


def _write_whole(file: Path, what: object) -> None:
    """At once or not at all, for whoever looks at the place meanwhile."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(what))
    unfinished.rename(file)


def _ask(file: Path, source: Path, names: Sequence[str], macros: Mapping[str, str]) -> str:
    """Has compile_for.py make the file, on the machine whose guest this is, or say why not."""
    request = {
        "release": os.uname().release,
        "source": source.name,
        "names": tuple(names),
        "macros": dict(macros),
        "files": {
            str(text.relative_to(source.parent)): text.read_text() for text in _texts(source)
        },
    }
    _write_whole(file.with_suffix(WANTED), request)
    refused = file.with_suffix(REFUSED)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and not file.exists():
        if refused.exists():
            return str(json.loads(refused.read_text()))
        time.sleep(0.1)
    return ""


def _texts(source: Path) -> list[Path]:
    return sorted(source.parent.rglob("*.[ch]"))


def _key(source: Path, names: Sequence[str], macros: Mapping[str, str]) -> str:
    found = hashlib.sha256()
    kernel = os.uname()
    words = (kernel.release, kernel.version, bcc_compiler.import_bcc().__version__, source.name)
    found.update(repr((words, tuple(names), sorted(macros.items()))).encode())
    for file in _texts(source):
        found.update(repr((file.name, file.read_bytes())).encode())
    return found.hexdigest()[:32]


def _forget_unused(place: Path) -> None:
    for file in place.iterdir():
        if time.time() - file.stat().st_mtime > _UNUSED_SECONDS:
            file.unlink(missing_ok=True)
