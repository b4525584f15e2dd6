# SPDX-License-Identifier: GPL-2.0-only
"""What bcc's source has to know of the running kernel, as compiler macros."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from agenttune.measure import bcc_headers
from agenttune.measure.btf import Field, declared_fields, offsets
from agenttune.measure.libbpf import KernelTypes, Libbpf

_KALLSYMS = Path("/proc/kallsyms")
_EVENTS = Path("/sys/kernel/tracing/events")
# Per-CPU variables by what is read of them, the newest kernel's first: a variable of its own; a
# field of x86's pcpu_hot (v6.2 to v6.14); a field of irq_stat (until v6.1).
_PERCPU = {
    "AT_PREEMPT_COUNT": (
        ("__preempt_count", None),
        ("pcpu_hot", Field("pcpu_hot", "preempt_count")),
    ),
    "AT_SOFTIRQS_PENDING": (
        ("__softirq_pending", None),
        ("pcpu_hot", Field("pcpu_hot", "softirq_pending")),
        ("irq_stat", Field("irq_cpustat_t", "__softirq_pending", is_typedef=True)),
    ),
}
_PERCPU_FIELDS = tuple(field for places in _PERCPU.values() for _, field in places if field)
# An absent field's offset: negative also when an inner field's is added.
_ABSENT = -(1 << 28)
_PER_CPU_OFFSET = "__per_cpu_offset"


def macros(library: Libbpf, header: Path) -> Mapping[str, str]:
    """Offsets of the header's fields, and of per-CPU variables where kallsyms has them.

    Raises CompileError where they must come from the kernel's headers and those do not compile.
    """
    fields = declared_fields(header)
    types = _kernel_types(library)
    if types:
        try:
            found = offsets(types, fields)
        finally:
            types.close()
    else:
        found = bcc_headers.offsets(fields)
    chosen = {field.macro: str(_ABSENT if at is None else at) for field, at in found.items()}
    return {**chosen, **_percpu_macros(found)}


class BccKernel:
    """The running kernel, as far as the choice of bcc's programs needs it."""

    def __init__(self, library: Libbpf) -> None:
        self._types = _kernel_types(library)

    def has_tracepoint(self, name: str) -> bool:
        if self._types:
            return self._types.has_tracepoint(name)
        return any(_EVENTS.glob(f"*/{name}"))

    def finds_task_storage(self) -> bool:
        """Never: the verifier wants to know that a pointer is a task's, and here it does not."""
        return False

    def percpu_symbols_resolve(self) -> bool:
        """Whether programs named *_exact can run; without BTF only those of plain variables."""
        found = offsets(self._types, _PERCPU_FIELDS) if self._types else {}
        return bool(_percpu_macros(found))

    def close(self) -> None:
        if self._types:
            self._types.close()


def _kernel_types(library: Libbpf) -> KernelTypes | None:
    try:
        return KernelTypes(library)
    except OSError:
        return None


def _percpu_macros(found: Mapping[Field, int | None]) -> Mapping[str, str]:
    names = {name for places in _PERCPU.values() for name, _ in places}
    symbols = _addresses({_PER_CPU_OFFSET, *names})
    if not symbols.get(_PER_CPU_OFFSET):
        return {}
    chosen = {"AT_PER_CPU_OFFSET": f"{symbols[_PER_CPU_OFFSET]:#x}ULL"}
    for macro, places in _PERCPU.items():
        for name, field in places:
            at = 0 if field is None else found.get(field)
            if name in symbols and at is not None:
                chosen[macro] = f"{symbols[name] + at:#x}ULL"
                break
        else:
            return {}
    return chosen


def _addresses(names: Iterable[str]) -> dict[str, int]:
    """Symbols of the kernel itself; the kernel shows zeros to those who may not see them."""
    wanted = set(names)
    found = {}
    with _KALLSYMS.open() as lines:
        for line in lines:
            address, _, name = line.split(maxsplit=3)[:3]
            if name in wanted and "[" not in line:
                found[name] = int(address, 16)
    return found
