# SPDX-License-Identifier: GPL-2.0-only
"""Whether a host's CPUs are real."""

from __future__ import annotations

from agenttune.host.tree import Tree

_CPUINFO = "/proc/cpuinfo"


def on_hypervisor(tree: Tree) -> bool | None:
    """What x86 CPUs say of themselves (CPUID leaf 1, ECX bit 31); None where none says.

    Emulators set the bit too; nothing tells them apart here.
    """
    for line in tree.lines(_CPUINFO):
        name, _, flags = line.partition(b":")
        if name.strip() == b"flags":
            return b"hypervisor" in flags.split()
    return None
