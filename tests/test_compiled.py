# SPDX-License-Identifier: GPL-2.0-only
"""What bcc compiled is used again only for the same sources, macros, kernel and bcc."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import compiled
import pytest

from agenttune.measure import bcc_compiler

NAMES, MACROS = ("one", "two"), {"A": "1"}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each use of the compiler."""
    used: list[str] = []

    def compile_programs(
        source: Path, names: Sequence[str], macros: Mapping[str, str]
    ) -> dict[str, bytes]:
        used.append(source.name)
        return {name: bytes([index, len(used)]) for index, name in enumerate(names)}

    monkeypatch.setattr(compiled, "_compile", compile_programs)
    monkeypatch.setattr(bcc_compiler, "import_bcc", lambda: SimpleNamespace(__version__="1"))
    return used


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/some.h").write_text("/* a header */\n")
    file = tmp_path / "bpf/some.bpf.c"
    file.write_text("/* a source */\n")
    return file


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_a_later_run_finds_the_same(compilations: list[str], source: Path, cache: Path) -> None:
    first = compiled.Compiled(cache).programs(source, NAMES, MACROS)
    assert compiled.Compiled(cache).programs(source, NAMES, MACROS) == first
    assert len(compilations) == 1


def test_without_a_place_only_this_run_does(compilations: list[str], source: Path) -> None:
    mine = compiled.Compiled(None)
    assert mine.programs(source, NAMES, MACROS) is mine.programs(source, NAMES, MACROS)
    compiled.Compiled(None).programs(source, NAMES, MACROS)
    assert len(compilations) == 2


def _touch_header(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.parent / "some.h").write_text("/* another header */\n")


def _boot_another(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(release="6.99.0", version="#1 SMP")
    monkeypatch.setattr(compiled.os, "uname", lambda: kernel)


def _upgrade_bcc(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcc_compiler, "import_bcc", lambda: SimpleNamespace(__version__="2"))


@pytest.mark.parametrize("change", [_touch_header, _boot_another, _upgrade_bcc])
def test_what_the_compiler_would_see_is_in_the_key(
    compilations: list[str],
    source: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    compiled.Compiled(cache).programs(source, NAMES, MACROS)
    change(source, monkeypatch)
    compiled.Compiled(cache).programs(source, NAMES, MACROS)
    compiled.Compiled(cache).programs(source, NAMES, {"A": "2"})
    compiled.Compiled(cache).programs(source, ("one",), MACROS)
    assert len(compilations) == 4


def test_what_is_unused_goes(compilations: list[str], source: Path, cache: Path) -> None:
    compiled.Compiled(cache).programs(source, NAMES, MACROS)
    (old,) = cache.iterdir()
    os.utime(old, (0, 0))
    compiled.Compiled(cache).programs(source, ("one",), MACROS)
    assert not old.exists()
    assert len(list(cache.iterdir())) == 1
