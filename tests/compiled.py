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

_UNUSED_SECONDS = 14 * 86_400
_compile = bcc_compiler.compile_programs


class Compiled:
    """As bcc_compiler.compile_programs; one file of `place`, or none, for each set of programs.

    Compiling takes half a minute to two minutes in an emulated guest. What is looked up by is all
    that the compiler reads: the sources, the macros, the kernel whose headers these are, and bcc.
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
        made = _compile(source, names, macros)
        if self._place is not None:
            unfinished = self._place / f"{key}.{os.getpid()}"
            unfinished.write_text(json.dumps({name: code.hex() for name, code in made.items()}))
            unfinished.rename(self._place / key)
            _forget_unused(self._place)
        return made


def _key(source: Path, names: Sequence[str], macros: Mapping[str, str]) -> str:
    found = hashlib.sha256()
    kernel = os.uname()
    words = (kernel.release, kernel.version, bcc_compiler.import_bcc().__version__, source.name)
    found.update(repr((words, tuple(names), sorted(macros.items()))).encode())
    for file in sorted(source.parent.rglob("*.[ch]")):
        found.update(repr((file.name, file.read_bytes())).encode())
    return found.hexdigest()[:32]


def _forget_unused(place: Path) -> None:
    for file in place.iterdir():
        if time.time() - file.stat().st_mtime > _UNUSED_SECONDS:
            file.unlink(missing_ok=True)
