# SPDX-License-Identifier: GPL-2.0-only
"""Fields' offsets from the kernel's headers, for kernels without BTF."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from agenttune.measure import bcc_compiler
from agenttune.measure.bcc_compiler import CompileError
from agenttune.measure.btf import Field

_HEADERS = (
    "linux/sched.h",
    "linux/interrupt.h",
    "linux/cgroup-defs.h",
    "linux/kernfs.h",
    "linux/netdevice.h",
    "linux/fdtable.h",
    "linux/blkdev.h",
    "linux/blk-mq.h",
    "net/sock.h",
    "uapi/linux/io_uring.h",
)
_PREAMBLE = "".join(f"#include <{header}>\n" for header in _HEADERS)
# bcc compiles from memory, under this name.
_ERROR = re.compile(r"^/virtual/main\.c:(\d+):\d+: error:", re.MULTILINE)


def offsets(fields: Sequence[Field]) -> Mapping[Field, int | None]:
    """Byte offsets; None where the headers have no such type or field.

    Raises CompileError when the headers themselves do not compile, as network headers of v6.12
    with bcc 0.26.
    """
    try:
        found = _compiled(fields)
    except CompileError as error:
        absent = _failed_lines(error.said)
        if not absent or min(absent) <= len(_HEADERS):
            raise
        known = [f for line, f in enumerate(fields, len(_HEADERS) + 1) if line not in absent]
        found = _compiled(known)
    return {field: found.get(field) for field in fields}


def _failed_lines(said: str) -> set[int]:
    return {int(line) for line in _ERROR.findall(said)}


def _compiled(fields: Sequence[Field]) -> dict[Field, int]:
    """One function for each field, each on a line: it returns the offset."""
    functions = "".join(
        f"int {field.macro}(void *ctx) {{ return {field.expression}; }}\n" for field in fields
    )
    names = [field.macro for field in fields]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel-headers.bpf.c")
        source.write_text(_PREAMBLE + functions)
        code = bcc_compiler.compile_programs(source, names, {})
    return {field: _returned(code[field.macro]) for field in fields}


def _returned(code: bytes) -> int:
    """The constant in 'r0 = constant; exit'."""
    operation, _, _, number = struct.unpack_from("<BBhi", code)
    assert operation in (0xB7, 0xB4), "BPF_ALU64 or BPF_ALU | BPF_MOV | BPF_K"
    return int(number)
