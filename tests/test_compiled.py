# SPDX-License-Identifier: GPL-2.0-only
"""What bcc compiled is used again only for the same sources, macros, kernel and bcc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import compiled
import pytest

from agenttune.measure import bcc_compiler
from vm.lab.cache import find_cache

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


def answering(cache: Path, suffix: str, text: str) -> threading.Thread:
    """Gives the first request this answer, and takes its texts along in `asked`."""

    def serve() -> None:
        until(lambda: bool(list(cache.glob(f"*{compiled.WANTED}"))))
        (request,) = cache.glob(f"*{compiled.WANTED}")
        (cache / "asked").write_text(request.read_text())
        request.with_suffix(suffix).write_text(text)

    (cache / compiled.SERVED).write_text("")
    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_served_place_compiles(compilations: list[str], source: Path, cache: Path) -> None:
    server = answering(cache, "", json.dumps({"one": "2a"}))
    assert compiled.Compiled(cache).programs(source, NAMES, MACROS) == {"one": b"*"}
    server.join()
    assert not compilations
    asked = json.loads((cache / "asked").read_text())
    assert asked["files"] == {"some.bpf.c": "/* a source */\n", "some.h": "/* a header */\n"}
    assert (asked["source"], asked["names"], asked["macros"]) == ("some.bpf.c", [*NAMES], MACROS)
    assert asked["release"] == os.uname().release


def test_what_the_server_was_told_is_the_error(
    compilations: list[str], source: Path, cache: Path
) -> None:
    server = answering(cache, compiled.REFUSED, json.dumps("main.c:1:1: error"))
    with pytest.raises(bcc_compiler.CompileError) as caught:
        compiled.Compiled(cache).programs(source, NAMES, MACROS)
    server.join()
    assert (caught.value.said, compilations) == ("main.c:1:1: error", [])


def test_where_the_server_fails_it_is_compiled_here(
    compilations: list[str], source: Path, cache: Path
) -> None:
    server = answering(cache, compiled.REFUSED, json.dumps(""))
    compiled.Compiled(cache).programs(source, NAMES, MACROS)
    server.join()
    assert len(compilations) == 1


def test_the_server_compiles_for_another_kernel(tmp_path: Path, cache: Path) -> None:
    """What it cannot compile, it refuses, with the compiler's words."""
    kernels = find_cache("6.12").root / "kernels"
    release = (kernels / "6.12/release").read_text().strip()
    # It fails to compile with any other kernel's headers.
    text = f"""#include <generated/utsrelease.h>
_Static_assert(!__builtin_strcmp(UTS_RELEASE, "{release}"), "");"""
    words = [sys.executable, Path(__file__).with_name("compile_for.py"), cache, kernels]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(words, env=environment) as server:
        until((cache / compiled.SERVED).exists)
        for name, body in (("good", "int one(void *ctx) { return 0; }"), ("bad", "int one(")):
            request = {"release": release, "source": "a.bpf.c", "names": ["one"], "macros": {}}
            files = {"files": {"a.bpf.c": f"{text}\n{body}\n"}}
            (cache / f"{name}.unfinished").write_text(json.dumps(request | files))
            (cache / f"{name}.unfinished").rename(cache / f"{name}{compiled.WANTED}")
        until(lambda: not list(cache.glob(f"*{compiled.WANTED}")))
        server.terminate()
    assert sorted(file.name for file in cache.iterdir()) == [f"bad{compiled.REFUSED}", "good"]
    assert "/virtual/main.c:3" in json.loads((cache / f"bad{compiled.REFUSED}").read_text())
    # r0 = 0; exit
    assert len(bytes.fromhex(json.loads((cache / "good").read_text())["one"])) == 16


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)
