# SPDX-License-Identifier: GPL-2.0-only
"""Names: how reports on steps call tasks, vectors, softirqs and devices."""

from __future__ import annotations

from agenttune.measure.trace import Chain, Step, Trace

# Rows of /proc/interrupts on x86, arch/x86/kernel/irq.c, arch_show_interrupts().
_ARCH = {
    "LOC": "the local timer",
    "RES": "a reschedule interrupt",
    "CAL": "another CPU's function call",
    "IWI": "IRQ work",
}


def printable(text: str) -> str:
    """What a task or driver calls itself may hold anything; a terminal must not obey it."""
    return "".join(c if c.isprintable() else "?" for c in text)


def task(comm: str | None, tid: int | None) -> str | None:
    """'hog (tid 500)'; None when nothing is known."""
    if not comm:
        return None if tid is None else f"tid {tid}"
    return printable(comm) if tid is None else f"{printable(comm)} (tid {tid})"


def source(irq: int | None, arch: str | None, trace: Trace) -> str | None:
    """'vector 45 (0000:00:03.0 virtio1-input.0)', 'the local timer (LOC)', or None."""
    if irq is None:
        return None if arch is None else f"{_ARCH.get(arch, 'an interrupt')} ({arch})"
    for name in trace.vectors:
        if name.irq == irq:
            what = " ".join(filter(None, (name.device, name.action)))
            return f"vector {irq} ({printable(what)})" if what else f"vector {irq}"
    return f"vector {irq}"


def raised(softirq: str | None, irq: int | None, arch: str | None, trace: Trace) -> str:
    """'NET_RX raised by vector 45 (...)', as far as known."""
    by = source(irq, arch, trace)
    return (softirq or "softirqs") + (f" raised by {by}" if by else "")


def conduit(chain: Chain, trace: Trace) -> str:
    """The kernel thread that carried a completion on."""
    return task(dict(trace.names).get(chain.conduit or 0), chain.conduit) or "a kernel thread"


def disk(subject: int) -> str:
    """A block completion's subject (major number in the upper half) as 'block device 259:0'."""
    return f"block device {subject >> 32}:{subject & 0xFFFFFFFF}"


def step_name(step: Step) -> str:
    """'step 4711 (search)'."""
    return f"step {step.id} ({printable(step.name) or step.kind})"
