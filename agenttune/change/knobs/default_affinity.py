# SPDX-License-Identifier: GPL-2.0-only
"""The affinity that new interrupts start with."""

from __future__ import annotations

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps
from agenttune.host.cpumask import CpuMask

# The only affinity file without a list form (kernel/irq/proc.c, v6.12).
_PATH = "/proc/irq/default_smp_affinity"


def _locate(_kernel: Kernel, _target: str) -> str:
    return _PATH


def read_hex(kernel: Kernel, path: str) -> str:
    """A file in the mask form, as the list form."""
    return str(CpuMask.parse_hex(kernel.read(path)))


def write_hex(kernel: Kernel, path: str, value: str) -> str:
    """Write a list form as the mask form."""
    shown = kernel.write_once(path, CpuMask.parse_list(value).to_hex() + "\n")
    return str(CpuMask.parse_hex(shown))


OPS = KnobOps(locate=_locate, read=read_hex, write=write_hex)
