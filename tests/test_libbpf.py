# SPDX-License-Identifier: GPL-2.0-only
"""The binding to libbpf and what it says when a host cannot measure."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from measure_witness import compile_bpf

from agenttune.errors import HostError
from agenttune.measure import backend
from agenttune.measure.bpf_engine import OBJECT, BpfEngine
from agenttune.measure.filter import Filter
from agenttune.measure.layout import Load
from agenttune.measure.libbpf import KernelTypes, Libbpf, Object

ROOT = Path(__file__).parent.parent


@pytest.fixture
def library() -> Iterator[Libbpf]:
    loaded = Libbpf()
    yield loaded
    loaded.close()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: Any) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(HostError, match="libbpf") as caught:
        Libbpf()
    assert "apt install libbpf1" in caught.value.hint


def test_an_object_that_was_not_built_is_named(library: Libbpf, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not built") as caught:
        Object(library, tmp_path / "agent.bpf.o")
    assert "bpf/build" in caught.value.hint


def test_a_kernel_without_btf_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "VMLINUX_BTF", tmp_path / "vmlinux")
    with pytest.raises(HostError, match="no BTF") as caught:
        BpfEngine(Filter())
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.hint


@pytest.mark.bpf
def test_what_libbpf_logs_is_in_the_error_only(tmp_path: Path) -> None:
    broken = tmp_path / "agent.bpf.o"
    broken.write_bytes(b"no ELF file")
    code = f"""
from pathlib import Path
from agenttune.errors import HostError
from agenttune.measure.bpf_engine import BpfEngine
from agenttune.measure.filter import Filter
try:
    BpfEngine(Filter(), path=Path({str(broken)!r}))
except HostError as error:
    print(error.message)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert "refused the BPF programs" in run.stdout
    assert "libbpf: elf:" in run.stdout


@pytest.mark.bpf
def test_a_user_without_privilege_is_told_what_is_needed() -> None:
    """The child gives up root after its imports: its sources may be root's alone."""
    code = """
import os
from agenttune.errors import HostError
from agenttune.measure import readout
from agenttune.measure.bpf_engine import BpfEngine
from agenttune.measure.filter import Filter
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    BpfEngine(Filter())
except HostError as error:
    print(error.message, error.hint)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "this process may not" in run.stdout
    assert "Run as root" in run.stdout


@pytest.mark.bpf
def test_the_kernels_types_tell_which_tracepoints_exist(library: Libbpf) -> None:
    types = KernelTypes(library)
    try:
        assert types.has_tracepoint("sched_switch")
        assert not types.has_tracepoint("no_such_tracepoint")
    finally:
        types.close()


@pytest.mark.bpf
def test_percpu_symbols_are_probed_as_the_symbol_table_has_them(library: Libbpf) -> None:
    """The kernel resolves per-CPU variables in /proc/kallsyms."""
    symbols = Path("/proc/kallsyms").read_text().split()
    types = KernelTypes(library)
    try:
        assert types.percpu_symbols_resolve() == bool(
            {"__preempt_count", "pcpu_hot"} & set(symbols)
        )
    finally:
        types.close()


@pytest.mark.bpf
def test_a_map_of_another_version_is_refused(library: Libbpf) -> None:
    opened = Object(library, OBJECT)
    try:
        with pytest.raises(HostError, match="Load has 464 bytes, this version has 16"):
            opened.map(".rodata.params").initial(Load)
    finally:
        opened.close()


@pytest.mark.bpf
def test_recursion_misses_are_read(library: Libbpf, tmp_path: Path) -> None:
    """A program on the tracepoint it fires itself: the kernel skips each inner run.

    The first run must be on this CPU: another one may have no user memory to fault on.
    """
    target = tmp_path / "recursing.bpf.o"
    compile_bpf(ROOT / "tests/recursing.bpf.c", target)
    opened = Object(library, target)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        programs = {program.name: program for program in opened.programs()}
        opened.load()
        opened.attach(programs["recurse"])
        end = time.monotonic() + 5
        while not programs["recurse"].recursion_misses() and time.monotonic() < end:
            programs["start"].run_on(min(os.sched_getaffinity(0)))
        assert programs["recurse"].recursion_misses() > 0
        assert programs["start"].recursion_misses() == 0
    finally:
        os.sched_setaffinity(0, allowed)
        opened.close()


@pytest.mark.bpf
def test_closing_leaves_no_descriptor_of_a_program_or_map() -> None:
    def descriptors() -> list[Path]:
        return sorted(Path("/proc/self/fd").iterdir())

    before = descriptors()
    engine = BpfEngine(Filter(comms=(b"at-nobody",)))
    assert len(descriptors()) > len(before) + 10
    engine.close()
    assert descriptors() == before
