# SPDX-License-Identifier: GPL-2.0-only
"""The x86 interrupt path's state, as far as user space sees it."""

from __future__ import annotations

from agenttune.host.host import Host, Vector
from agenttune.report.table import table
from agenttune.report.units import per_cpu

_MODULE = "needs the module"
_NONE = "  none\n"
# The note's table of registers and control state (its section 3); none of it has a file.
_STATE = (
    ("IDTR", "where the interrupt descriptor table is", _MODULE),
    ("RIP / CS / RFLAGS", "what was interrupted", _MODULE),
    ("RSP / SS / TSS.RSP0 / IST", "the stack that the entry switches to", _MODULE),
    ("APIC IRR / ISR", "pending and in-service vectors", _MODULE),
    ("APIC TPR", "the priority below which interrupts wait", _MODULE),
    ("APIC EOI", "when the interrupt is over", _MODULE),
)
_NO_IDT = (
    "  The IDT vector is in /sys/kernel/debug/irq only (CONFIG_GENERIC_IRQ_DEBUGFS), which this\n"
    "  kernel does not have or does not show: it needs the module here.\n"
)


def x86_text(host: Host) -> str:
    """The map from vector to IRQ to CPU, interrupts without a number, then the note's state."""
    known = any(vector.idt_vector is not None for vector in host.vectors)
    header = ("IDT vector", "irq", "vector", "may go to", "goes to", "interrupts")
    arch = (row for row in host.arch_interrupts if any(row.counts.values()))
    rows = ((row.name, row.description, per_cpu(row.counts)) for row in arch)
    sections = (
        (
            "vector to IRQ to CPU",
            table(header, map(_row, host.vectors)) + ("" if known else _NO_IDT),
        ),
        ("vectors without an IRQ number", table(("name", "what", "interrupts"), rows) or _NONE),
        ("registers and control state", table(("state", "what it is", "user space"), _STATE)),
    )
    return "\n".join(f"{title}\n{text}" for title, text in sections)


def _row(vector: Vector) -> tuple[object, ...]:
    idt = None
    if vector.idt_vector is not None:
        idt = f"{vector.idt_vector} on CPU {vector.idt_cpu}"
    return (
        idt,
        vector.irq,
        vector.key,
        vector.affinity,
        vector.effective,
        None if vector.counts is None else per_cpu(vector.counts),
    )
