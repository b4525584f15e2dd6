# SPDX-License-Identifier: GPL-2.0-only
"""The x86 interrupt path's state: what user space sees, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from trees import FIRST_IRQ, make_tree

from agenttune.host.capture import read_host
from agenttune.host.host import X86Vector
from agenttune.host.tree import Tree
from agenttune.host.virtual import on_hypervisor
from agenttune.host.x86_state import read_x86_state
from agenttune.report.x86 import x86_text

# As irq_debug_show() words it (kernel/irq/debugfs.c, v6.12).
DEBUGFS = """\
handler:  handle_edge_irq
device:   0000:00:03.0
status:   0x00000000
dstate:   0x01400200
            IRQD_ACTIVATED
node:     0
affinity: 0-3
effectiv: 2
domain:  PCI-MSIX-0000:00:03.0-12
 hwirq:   0x1
 chip:    PCI-MSIX-0000:00:03.0
  flags:   0x430
 parent:
    domain:  VECTOR
     hwirq:   0x18
     chip:    APIC
      flags:   0x0
     Vector:    37
     Target:     2
     Previous vector:    36
     Previous target:     1
     move_in_progress: 0
"""


def vector_line(text: str, irq: int) -> list[str]:
    return next(line.split() for line in text.splitlines() if f" {irq} " in line)


def test_without_debugfs_the_vector_is_unknown_and_the_map_says_why(tmp_path: Path) -> None:
    make_tree(tmp_path)
    text = x86_text(read_host(tmp_path, ()))
    assert vector_line(text, FIRST_IRQ)[0] == "unknown"
    assert "CONFIG_GENERIC_IRQ_DEBUGFS" in text


def test_debugfs_tells_vector_and_cpu(tmp_path: Path) -> None:
    make_tree(tmp_path)
    folder = tmp_path / "sys/kernel/debug/irq/irqs"
    folder.mkdir(parents=True)
    (folder / str(FIRST_IRQ)).write_text(DEBUGFS)
    host = read_host(tmp_path, ())
    vector = next(each for each in host.vectors if each.irq == FIRST_IRQ)
    assert (vector.idt_vector, vector.idt_cpu) == (37, 2)
    text = x86_text(host)
    assert vector_line(text, FIRST_IRQ)[:4] == ["37", "on", "CPU", "2"]
    assert "CONFIG_GENERIC_IRQ_DEBUGFS" not in text


def test_an_unassigned_vector_stays_unknown(tmp_path: Path) -> None:
    make_tree(tmp_path)
    folder = tmp_path / "sys/kernel/debug/irq/irqs"
    folder.mkdir(parents=True)
    (folder / str(FIRST_IRQ)).write_text(" Vector: Not assigned\n")
    assert all(vector.idt_vector is None for vector in read_host(tmp_path, ()).vectors)


REGISTERS = (
    "IDTR", "RIP / CS / RFLAGS", "RSP / SS / TSS.RSP0 / IST", "APIC IRR / ISR", "APIC TPR",
    "APIC EOI",
)  # fmt: skip
# As kmod/x86_state.h documents it; the third CPU's APIC is off, as before a kernel takes it over.
STATE = r"""agent_latency x86 1
addresses shown
cpu 0 entry idt
cpu 0 idtr base=0xfffffe0000000000 limit=0xfff
cpu 0 stack rsp0=0xfffffe00000003000 ist1=0xfffffe0000006000 ist2=0x0
cpu 0 apic mode=xapic id=0x0 enabled=1 tpr=0x10 ppr=0x0 eoi_broadcast=1
cpu 0 vector 0x22 irq 24 eth0\040rx,\134x\033[31m later=1
cpu 0 irr 0xec LOC
cpu 0 isr 0x22 irq 24 eth0
cpu 1 entry idt
cpu 1 idtr base=0xfffffe0000000000 limit=0xfff
cpu 1 stack rsp0=0xfffffe00000003000 ist1=0xfffffe0000006000 ist2=0x0
cpu 1 apic mode=xapic id=0x1 enabled=1 tpr=0x10 ppr=0x0 eoi_broadcast=1
cpu 1 something new
cpu 2 entry fred
cpu 2 idtr base=0x0 limit=0xffff
cpu 2 stack rsp0=0xfffffe0000007000
cpu 2 apic mode=off
a line of a later version
""".replace(r"\\", "\\")


def with_state(root: Path, state: str | None) -> str:
    """The report of a host whose module says `state`."""
    make_tree(root)
    if state is not None:
        folder = root / "sys/kernel/debug/agent_latency"
        folder.mkdir(parents=True)
        (folder / "x86").write_text(state)
    return x86_text(replace(read_host(root, ()), x86=read_x86_state(Tree(root))))


def live_of(text: str, name: str) -> list[str]:
    """The values of one row of the note's table; each row also says why it matters."""
    rows = text.split("registers and control state\n")[1].split("\n  ")
    start = next(at for at, line in enumerate(rows) if line.strip().startswith(f"{name}: "))
    lines = []
    for line in rows[start + 1 :]:
        if line.strip().startswith("why it matters: "):
            return lines
        lines.append(line.strip().removeprefix("live: "))
    raise AssertionError(f"{name} does not say why it matters")


@pytest.mark.parametrize("state", [None, "", "agent_latencies x86 1\n"])
def test_without_the_module_every_register_is_listed(tmp_path: Path, state: str | None) -> None:
    text = with_state(tmp_path, state)
    for name in REGISTERS:
        (live,) = live_of(text, name)
        expected = "nobody keeps it" if name.startswith("RIP") else "needs the module"
        assert expected in live


def test_the_module_tells_them_all(tmp_path: Path) -> None:
    text = with_state(tmp_path, STATE)
    assert live_of(text, "IDTR") == [
        "CPU 0-1: base 0xfffffe0000000000, limit 0xfff; entry is through the IDT",
        "CPU 2: base 0x0, limit 0xffff; not used: entry is by FRED",
    ]
    assert live_of(text, "RSP / SS / TSS.RSP0 / IST")[0].startswith("CPU 0-1: RSP0 0xfffffe0")
    assert live_of(text, "APIC IRR / ISR") == [
        "CPU 0: IRR 0xec LOC, ISR 0x22 irq 24 eth0",
        "CPU 1: IRR empty, ISR empty",
        "CPU 2: no local APIC in use (mode off)",
    ]
    assert live_of(text, "APIC TPR")[0] == "CPU 0-1: TPR 0x10, processor priority 0x0, xapic"
    assert "broadcast to I/O APICs on" in live_of(text, "APIC EOI")[0]
    assert vector_line(text, FIRST_IRQ)[:4] == ["34", "on", "CPU", "0"]
    assert "CONFIG_GENERIC_IRQ_DEBUGFS" not in text
    assert "\033" not in text


def test_names_lose_their_escapes(tmp_path: Path) -> None:
    with_state(tmp_path, STATE)
    found = read_x86_state(Tree(tmp_path))
    assert found is not None
    assert found.cpus[0].vectors[0] == X86Vector(0x22, 24, "eth0 rx,\\x\033[31m later=1")


@pytest.mark.parametrize("reason", ["lockdown", "kptr_restrict", "capability"])
def test_withheld_addresses_say_why(tmp_path: Path, reason: str) -> None:
    state = STATE.replace("addresses shown", f"addresses withheld {reason}")
    text = with_state(tmp_path, state)
    assert f"withheld ({reason})" in live_of(text, "IDTR")[0]
    assert live_of(text, "RSP / SS / TSS.RSP0 / IST") == [f"CPU 0-2: withheld ({reason})"]
    assert "0xfffffe" not in text


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse hypervisor avx\n", True),
        ("processor\t: 0\nflags\t\t: fpu sse avx\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", None),
        (None, None),
    ],
)
def test_cpus_tell_whether_they_are_virtual(
    tmp_path: Path, cpuinfo: str | None, expected: bool | None
) -> None:
    if cpuinfo is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert on_hypervisor(Tree(tmp_path)) is expected
