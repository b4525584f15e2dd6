# SPDX-License-Identifier: GPL-2.0-only
"""A second, minimal tracer: how often each tracepoint fired, by row of /proc and CPU."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from ctypes import Structure, c_uint64
from pathlib import Path

from agenttune.measure.layout import ARCH_NAMES, SOFTIRQ_NAMES
from agenttune.measure.libbpf import Libbpf, Object

TESTS = Path(__file__).parent
# ROWS of witness.bpf.c.
SOFTIRQ_ROW, ARCH_ROW = 1024, 1040


class _Count(Structure):
    _fields_ = (("value", c_uint64),)


def compile_bpf(source: Path, target: Path) -> None:
    command = ["clang", "-O2", "-g", "-target", "bpf"]
    command += ["-I", f"/usr/include/{os.uname().machine}-linux-gnu"]
    subprocess.run([*command, "-c", str(source), "-o", str(target)], check=True)


class Witness:
    """Attached from its making to close()."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        self._object = Object(library, path)
        self._object.load()
        for program in self._object.programs():
            self._object.attach(program)
        self._irqs = [int(p.name) for p in Path("/proc/irq").iterdir() if p.name.isdigit()]

    def counts(self) -> dict[tuple[str, int], int]:
        rows = [(str(irq), irq) for irq in self._irqs if irq < SOFTIRQ_ROW]
        rows += [(name, SOFTIRQ_ROW + index) for index, name in enumerate(SOFTIRQ_NAMES)]
        rows += [(name, ARCH_ROW + index) for index, name in enumerate(ARCH_NAMES)]
        found: Counter[tuple[str, int]] = Counter()
        for name, row in rows:
            for cpu, count in enumerate(self._object.map("hits").per_cpu(row, _Count)):
                found[name, cpu] += count.value
        return dict(found)

    def close(self) -> None:
        self._object.close()


@contextlib.contextmanager
def witness(folder: Path) -> Iterator[Witness]:
    """Needs clang; `folder` takes the object."""
    target = folder / "witness.bpf.o"
    compile_bpf(TESTS / "witness.bpf.c", target)
    library = Libbpf()
    attached = None
    try:
        attached = Witness(library, target)
        yield attached
    finally:
        if attached:
            attached.close()
        library.close()
