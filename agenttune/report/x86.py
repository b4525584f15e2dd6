# SPDX-License-Identifier: GPL-2.0-only
"""The x86 interrupt path's state: what user space sees, and what the module tells beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Host, Vector, X86Cpu, X86State
from agenttune.report.table import UNKNOWN, table
from agenttune.report.units import per_cpu

_MODULE = "needs the module agent_latency, loaded, and root"
_NONE = "  none\n"
_NO_IDT = (
    "  The IDT vector is in /sys/kernel/debug/irq only (CONFIG_GENERIC_IRQ_DEBUGFS), which this\n"
    "  kernel does not have or does not show: it needs the module here.\n"
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the note's table (its section 3). `live` tells one CPU's value; None where no
    one can: then `never` says why."""

    name: str
    role: str
    why: str
    live: Callable[[X86Cpu, str], str] | None = None
    never: str = ""


def x86_text(host: Host) -> str:
    """The map from vector to IRQ to CPU, interrupts without a number, then the note's table."""
    told = _told_vectors(host.x86)
    known = bool(told) or any(vector.idt_vector is not None for vector in host.vectors)
    header = ("IDT vector", "irq", "vector", "may go to", "goes to", "interrupts")
    arch = (row for row in host.arch_interrupts if any(row.counts.values()))
    rows = ((row.name, row.description, per_cpu(row.counts)) for row in arch)
    sections = (
        (
            "vector to IRQ to CPU",
            table(header, (_vector_row(vector, told) for vector in host.vectors))
            + ("" if known else _NO_IDT),
        ),
        ("vectors without an IRQ number", table(("name", "what", "interrupts"), rows) or _NONE),
        ("registers and control state", "".join(_state_text(row, host.x86) for row in _ROWS)),
    )
    return "\n".join(f"{title}\n{text}" for title, text in sections)


def _told_vectors(state: X86State | None) -> Mapping[int, tuple[int, int]]:
    """By IRQ number: the IDT vector and its CPU, as the module tells."""
    cpus = state.cpus if state else ()
    return {each.irq: (each.vector, cpu.cpu) for cpu in cpus for each in cpu.vectors}


def _vector_row(vector: Vector, told: Mapping[int, tuple[int, int]]) -> tuple[object, ...]:
    idt, cpu = told.get(vector.irq, (vector.idt_vector, vector.idt_cpu))
    return (
        None if idt is None else f"{idt} on CPU {cpu}",
        vector.irq,
        vector.key,
        vector.affinity,
        vector.effective,
        None if vector.counts is None else per_cpu(vector.counts),
    )


def _state_text(row: _Row, state: X86State | None) -> str:
    lines = [f"  {row.name}: {row.role}"]
    lines += [f"      live: {text}" for text in _live(row, state)]
    lines.append(f"      why it matters: {row.why}")
    return "".join(f"{line}\n" for line in lines)


def _live(row: _Row, state: X86State | None) -> Iterator[str]:
    """A line for each value, with the CPUs that have it."""
    if row.live is None:
        yield row.never
        return
    if state is None:
        yield _MODULE
        return
    by_text: dict[str, list[int]] = {}
    for cpu in state.cpus:
        by_text.setdefault(row.live(cpu, state.withheld), []).append(cpu.cpu)
    for text, cpus in by_text.items():
        yield f"CPU {CpuMask.of(cpus)}: {_printable(text)}"


def _printable(text: str) -> str:
    """Names are the drivers' own: a terminal must not obey them."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _idtr(cpu: X86Cpu, withheld: str) -> str:
    idtr = cpu.fields.get("idtr", {})
    base = f"withheld ({withheld})" if withheld else idtr.get("base", UNKNOWN)
    used = "not used: entry is by FRED" if cpu.entry == "fred" else "entry is through the IDT"
    return f"base {base}, limit {idtr.get('limit', UNKNOWN)}; {used}"


def _stack(cpu: X86Cpu, withheld: str) -> str:
    if withheld:
        return f"withheld ({withheld})"
    return ", ".join(f"{k.upper()} {v}" for k, v in cpu.fields.get("stack", {}).items()) or UNKNOWN


def _pending(cpu: X86Cpu, _withheld: str) -> str:
    if "tpr" not in _apic(cpu):
        return _no_apic(cpu)
    return f"IRR {'; '.join(cpu.irr) or 'empty'}, ISR {'; '.join(cpu.isr) or 'empty'}"


def _priority(cpu: X86Cpu, _withheld: str) -> str:
    apic = _apic(cpu)
    if "tpr" not in apic:
        return _no_apic(cpu)
    return f"TPR {apic['tpr']}, processor priority {apic.get('ppr', UNKNOWN)}, {apic['mode']}"


def _eoi(cpu: X86Cpu, _withheld: str) -> str:
    broadcast = {"1": "on", "0": "off"}.get(_apic(cpu).get("eoi_broadcast", ""))
    if broadcast is None:
        return _no_apic(cpu)
    return f"the register can only be written; EOI broadcast to I/O APICs {broadcast}"


def _apic(cpu: X86Cpu) -> Mapping[str, str]:
    return cpu.fields.get("apic", {})


def _no_apic(cpu: X86Cpu) -> str:
    return f"no local APIC in use (mode {_apic(cpu).get('mode', UNKNOWN)})"


_ROWS = (
    _Row(
        "IDTR",
        "where the interrupt descriptor table is",
        "the lookup is fast, but where the entry path lies decides which cache lines it needs",
        _idtr,
    ),
    _Row(
        "RIP / CS / RFLAGS",
        "what was interrupted",
        "an interrupt can preempt agent code between any two instructions",
        never="exists for the time of one interrupt, on its stack; nobody keeps it",
    ),
    _Row(
        "RSP / SS / TSS.RSP0 / IST",
        "the stack that the entry switches to",
        "a stack that is not in the cache makes entry and exit slower",
        _stack,
    ),
    _Row(
        "APIC IRR / ISR",
        "pending and in-service vectors",
        "a backlog shows as late delivery, and a vector in service holds back those below it",
        _pending,
    ),
    _Row(
        "APIC TPR",
        "the priority below which interrupts wait",
        "a raised one defers interrupts; Linux leaves it alone, so anything else explains delays",
        _priority,
    ),
    _Row(
        "APIC EOI",
        "when the interrupt is over",
        "its moment decides when the same and lower vectors may enter again",
        _eoi,
    ),
)
