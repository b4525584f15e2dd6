# SPDX-License-Identifier: GPL-2.0-only
"""The x86 interrupt path's state: what user space sees, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import FIRST_IRQ, make_tree

from agenttune.host.capture import read_host
from agenttune.host.tree import Tree
from agenttune.host.virtual import on_hypervisor
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


def test_every_register_of_the_note_is_listed(tmp_path: Path) -> None:
    make_tree(tmp_path)
    lines = x86_text(read_host(tmp_path, ())).splitlines()
    for state in ("IDTR", "RIP / CS / RFLAGS", "RSP / SS / TSS.RSP0 / IST", "APIC IRR / ISR"):
        assert next(line for line in lines if state in line).endswith("needs the module")
    assert sum("needs the module" in line for line in lines if "it needs" not in line) == 6


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
