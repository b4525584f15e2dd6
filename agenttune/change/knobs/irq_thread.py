# SPDX-License-Identifier: GPL-2.0-only
"""The affinity of the threads that handle one interrupt vector."""

from __future__ import annotations

from agenttune.change.kernel import Kernel
from agenttune.change.knobs import vector
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.host.cpumask import CpuMask
from agenttune.host.tasks import read_comms, read_irq_threads


def _locate(kernel: Kernel, target: str) -> str:
    """'IRQ:PID,PID': a shared or a split handler has more than one thread."""
    irq = vector.find_irq(kernel, target)
    threads = read_irq_threads(kernel.tree, read_comms(kernel.tree)).get(irq)
    if not threads:
        raise TargetGone(f"vector {target} (irq {irq}) has no handler thread now")
    return f"{irq}:{','.join(str(thread.pid) for thread in threads)}"


def _pids(place: str) -> list[int]:
    return [int(pid) for pid in place.partition(":")[2].split(",")]


def _read(kernel: Kernel, place: str) -> str:
    """The CPU list that all threads share; several joined by ';' are nobody's single value."""
    masks = {str(kernel.task_affinity(pid)) for pid in _pids(place)}
    return ";".join(sorted(masks))


def _write(kernel: Kernel, place: str, value: str) -> str:
    for pid in _pids(place):
        kernel.set_task_affinity(pid, CpuMask.parse_list(value))
    return _read(kernel, place)


def _natural(kernel: Kernel, place: str) -> str | None:
    """A handler thread follows its vector: irq_thread_check_affinity(), kernel/irq/manage.c."""
    return vector.effective(kernel, place.partition(":")[0])


def _same_threads(_kernel: Kernel, place: str, context: str) -> bool:
    return place.partition(":")[2] == context


OPS = KnobOps(
    locate=_locate,
    read=_read,
    write=_write,
    natural=_natural,
    context=lambda _kernel, place: place.partition(":")[2],
    survives=_same_threads,
    dies_with_target=True,
)
