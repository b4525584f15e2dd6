# SPDX-License-Identifier: GPL-2.0-only
"""Backend: one way to get BPF programs into the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agenttune.errors import HostError, InputError
from agenttune.measure import bcc_compiler, bcc_kernel
from agenttune.measure.bcc import BccObject
from agenttune.measure.libbpf import KernelTypes, Libbpf, Object

VMLINUX_BTF = Path("/sys/kernel/btf/vmlinux")


class Kernel(Protocol):
    """What a choice of programs asks of the running kernel."""

    def has_tracepoint(self, name: str) -> bool: ...

    def finds_task_storage(self) -> bool:
        """Whether programs find it wherever they run."""

    def percpu_symbols_resolve(self) -> bool:
        """Whether programs may read the kernel's per-CPU variables."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """`check` raises HostError saying what this host lacks; `open` takes an object's path."""

    name: str
    check: Callable[[], object]
    kernel: Callable[[Libbpf], Kernel]
    open: Callable[[Libbpf, Path], Object]


def _check_btf() -> None:
    if not VMLINUX_BTF.exists():
        raise HostError(
            f"this kernel has no BTF ({VMLINUX_BTF} is missing), and the libbpf engine needs it",
            hint="Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, or try --engine bcc.",
        )


LIBBPF = Backend("libbpf", _check_btf, KernelTypes, Object)
BCC = Backend("bcc", bcc_compiler.import_bcc, bcc_kernel.BccKernel, BccObject)
BACKENDS = {backend.name: backend for backend in (LIBBPF, BCC)}


def choose(engine: str) -> Backend:
    """'auto', 'libbpf' or 'bcc'; 'auto' is libbpf wherever the kernel has BTF.

    Raises InputError for any other name.
    """
    if engine == "auto":
        return LIBBPF if VMLINUX_BTF.exists() else BCC
    if engine not in BACKENDS:
        raise InputError(f"there is no engine {engine!r}", hint="Choose auto, libbpf or bcc.")
    return BACKENDS[engine]
