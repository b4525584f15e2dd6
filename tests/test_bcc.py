# SPDX-License-Identifier: GPL-2.0-only
"""What the bcc engine needs of a host, and what it finds out about the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from measure_loads import COMM, SLEEPER, agent

from agenttune.errors import HostError, InputError
from agenttune.measure import backend, bcc_compiler, bcc_headers, bcc_kernel
from agenttune.measure.backend import BCC, LIBBPF, choose
from agenttune.measure.bpf_engine import BpfEngine
from agenttune.measure.btf import Field, declared_fields, offsets
from agenttune.measure.filter import Filter
from agenttune.measure.kprobe import attach_kprobe
from agenttune.measure.libbpf import KernelTypes, Libbpf

ROOT = Path(__file__).parent.parent
KERNEL_H = ROOT / "bpf/kernel.h"


@pytest.fixture
def types() -> Iterator[KernelTypes]:
    library = Libbpf()
    opened = KernelTypes(library)
    yield opened
    opened.close()
    library.close()


def test_auto_is_libbpf_where_the_kernel_has_btf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backend, "VMLINUX_BTF", tmp_path)
    assert choose("auto") is LIBBPF
    monkeypatch.setattr(backend, "VMLINUX_BTF", tmp_path / "vmlinux")
    assert choose("auto") is BCC
    assert choose("libbpf") is LIBBPF


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match="no engine 'ebpf'"):
        choose("ebpf")


def test_a_missing_bcc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    with pytest.raises(HostError, match="bcc's Python bindings") as caught:
        bcc_compiler.import_bcc()
    assert "apt install python3-bpfcc" in caught.value.hint


def test_missing_headers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bcc", reason="needs bcc's Python bindings")
    monkeypatch.setattr(bcc_compiler, "headers_found", lambda: False)
    with pytest.raises(HostError, match="headers of") as caught:
        bcc_compiler.import_bcc()
    assert "linux-headers" in caught.value.hint


def test_every_field_of_the_header_is_found() -> None:
    fields = declared_fields(KERNEL_H)
    assert Field("task_struct", "comm") in fields
    assert Field("cgroup", "ancestors") in fields
    assert Field("possible_net_t", "net", is_typedef=True) in fields
    # Every line that ends a declaration inside a struct is one field.
    lines = [line for line in KERNEL_H.read_text().splitlines() if line.startswith("\t")]
    assert len(fields) == len(lines)


@pytest.mark.bpf
def test_offsets_are_the_kernels_own(types: KernelTypes, tmp_path: Path) -> None:
    """Against bpftool's view of the same types, compiled."""
    header = tmp_path / "vmlinux.h"
    dump = ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]
    header.write_bytes(subprocess.run(dump, capture_output=True, check=True).stdout)
    found = {f: at for f, at in offsets(types, declared_fields(KERNEL_H)).items() if at is not None}
    assert len(found) >= 15
    checks = "".join(
        f'_Static_assert({field.expression} == {at}, "{field.macro}");\n'
        for field, at in found.items()
    )
    source = tmp_path / "check.c"
    source.write_text(f'#include "{header}"\n{checks}')
    command = ["clang", "-target", "bpf", "-w", "-fsyntax-only", str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.bpf
def test_fields_inside_anonymous_structs_are_found(types: KernelTypes) -> None:
    field = Field("page", "_refcount")
    mapping = Field("page", "mapping")
    found = offsets(types, (field, mapping, Field("page", "no_such_field"), Field("no_such", "x")))
    assert found[field] is not None
    assert found[mapping] is not None
    assert list(found.values())[2:] == [None, None]


@pytest.mark.bpf
def test_what_the_compiler_says_is_in_the_error_only(
    bcc_here: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int broken(void *ctx) { return nothing; }\n")
    with pytest.raises(HostError, match="use of undeclared identifier 'nothing'"):
        bcc_compiler.compile_programs(source, ("broken",), {})
    assert capfd.readouterr().err == ""


@pytest.mark.bpf
def test_closing_leaves_no_descriptor(bcc_here: None) -> None:
    def descriptors() -> list[Path]:
        return sorted(Path("/proc/self/fd").iterdir())

    BpfEngine(Filter(), backend=BCC).close()
    before = descriptors()
    engine = BpfEngine(Filter(comms=(b"at-nobody",)), backend=BCC)
    assert len(descriptors()) > len(before) + 10
    engine.close()
    assert descriptors() == before


@pytest.mark.bpf
def test_reading_an_absent_field_is_refused(
    bcc_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_tgid(types: KernelTypes, fields: tuple[Field, ...]) -> Mapping[Field, int | None]:
        return {**offsets(types, fields), Field("task_struct", "tgid"): None}

    monkeypatch.setattr(bcc_kernel, "offsets", without_tgid)
    with pytest.raises(HostError, match=r"(?s)refused the BPF program sched_.*invalid func"):
        BpfEngine(Filter(comms=(b"at-nobody",)), backend=BCC)


@pytest.mark.bpf
def test_a_kprobe_is_attached_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    """A kernel without kprobes says so."""
    if not Path("/sys/bus/event_source/devices/kprobe").exists():
        with pytest.raises(OSError, match="kprobe"):
            attach_kprobe("__x64_sys_prctl", -1)
        return
    with pytest.raises(OSError, match="no_such_function"):
        attach_kprobe("no_such_function", -1)


def no_types(library: Libbpf) -> KernelTypes:
    raise OSError(2, "no BTF")


@pytest.fixture
def no_btf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without BTF, as bcc's side of the engine sees it."""
    monkeypatch.setattr(bcc_kernel, "KernelTypes", no_types)


@pytest.mark.bpf
@pytest.mark.thorough
def test_headers_tell_what_btf_tells(bcc_here: None, types: KernelTypes) -> None:
    require_own_headers_that_compile()
    fields = declared_fields(KERNEL_H)
    told, known = bcc_headers.offsets(fields), offsets(types, fields)
    # The scheduler keeps this one to itself, and irq_cpustat_t differs by name only.
    private = {field for field in fields if field.type_name == "cfs_rq"}
    assert {f: at for f, at in told.items() if f not in private} == {
        f: at for f, at in known.items() if f not in private
    }


@pytest.mark.bpf
def test_a_kernel_without_btf_is_measured(bcc_here: None, no_btf: None) -> None:
    require_own_headers_that_compile()
    engine = BpfEngine(Filter(comms=(COMM.encode(),)), backend=BCC)
    try:
        with agent(SLEEPER, 50) as sleeper:
            sleeper.hear()
            engine.open_window()
            sleeper.poke()
            sleeper.hear()
            engine.close_window()
            found = engine.counters()
    finally:
        engine.close()
    assert {load.tgid for load in found.agents} == {sleeper.pid}
    assert found.wakeups["hardirq"].count >= 25
    assert found.softirqs
    assert found.coverage.lost == 0


@pytest.mark.bpf
def test_tracepoints_are_found_without_btf(bcc_here: None, no_btf: None) -> None:
    library = Libbpf()
    kernel = bcc_kernel.BccKernel(library)
    assert kernel.has_tracepoint("sched_switch")
    assert not kernel.has_tracepoint("no_such_tracepoint")
    kernel.close()
    library.close()


def require_own_headers_that_compile() -> None:
    """bcc 0.26 compiles the network headers up to v6.1 only."""
    if not Path(f"/lib/modules/{os.uname().release}/build").exists():
        pytest.skip("needs the running kernel's own headers")
    if not os.uname().release.startswith("6.1."):
        pytest.skip("needs network headers that bcc 0.26 compiles: Linux 6.1")
