# SPDX-License-Identifier: GPL-2.0-only
"""The interrupts that the running irqbalance leaves alone, told to it through its socket."""

from __future__ import annotations

import re

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.change.knobs.vector import find_irq
from agenttune.change.processes import task_stat
from agenttune.errors import HostError
from agenttune.host.tasks import read_comms
from agenttune.policy.plan import KnobKind, Plan

# SOCKET_TMPFS and SOCKET_PATH in irqbalance.h, 1.9.2.
_SOCKET = "/run/irqbalance/irqbalance{pid}.sock"


def daemon(kernel: Kernel) -> str:
    """'PID@START_TICKS' of the running irqbalance. Raises TargetGone when there is none."""
    for pid, comm in read_comms(kernel.tree).items():
        stat = task_stat(kernel, pid) if comm == "irqbalance" else None
        if stat is not None and stat.state not in "ZX":
            return f"{pid}@{stat.start_ticks}"
    raise TargetGone("irqbalance is not running")


def _socket(place: str) -> str:
    return _SOCKET.format(pid=place.partition("@")[0])


def _locate(kernel: Kernel, _target: str) -> str:
    place = daemon(kernel)
    if not kernel.tree.exists(_socket(place)):
        raise HostError(
            f"irqbalance (pid {place.partition('@')[0]}) runs without its socket, "
            "so it cannot be told to leave the moved vectors alone",
            hint="Restart irqbalance with a writable /run/irqbalance, or stop it: "
            "systemctl stop irqbalance.",
        )
    return place


def _read(kernel: Kernel, place: str) -> str:
    """Banned IRQ numbers, ascending, '33,40'. The reply is 'SLEEP 10 IRQ 33 LOAD 0 … BANNED 0'."""
    reply = kernel.ask(_socket(place), "setup")
    if "BANNED" not in reply:
        raise OSError(f"irqbalance did not answer 'setup' as expected: {reply[:60]!r}")
    return _join({int(number) for number in re.findall(r"\bIRQ (\d+)", reply)})


def _write(kernel: Kernel, place: str, value: str) -> str:
    """Replace the whole list: irqbalance forgets the old one at every such command."""
    old = _read(kernel, place)
    _tell(kernel, place, value)
    shown = _read(kernel, place)
    if shown != value:
        _tell(kernel, place, old)
        raise HostError(
            f"irqbalance did not take a list of {len(_split(value))} interrupts to leave alone",
            hint="Up to 1.9.4 it cuts a command at 500 bytes. Update it, or stop it: "
            "systemctl stop irqbalance.",
        )
    return shown


def _tell(kernel: Kernel, place: str, value: str) -> None:
    kernel.ask(_socket(place), f"settings ban irqs {value.replace(',', ' ') or 'NONE'}")


def _split(value: str) -> set[int]:
    return {int(irq) for irq in value.split(",") if irq}


def _join(irqs: set[int]) -> str:
    return ",".join(map(str, sorted(irqs)))


def _with_moved_vectors(kernel: Kernel, current: str, plan: Plan) -> str:
    """The bans there are and those of the vectors this plan moves, by their numbers of now."""
    moved = {
        find_irq(kernel, change.knob.target)
        for change in plan.changes
        if change.knob.kind is KnobKind.VECTOR_AFFINITY
    }
    return _join(moved | _split(current))


OPS = KnobOps(
    locate=_locate,
    read=_read,
    write=_write,
    context=lambda _kernel, place: place,
    survives=lambda _kernel, place, context: place == context,
    canonical=lambda value: _join(_split(value)),
    rebase=_with_moved_vectors,
    dies_with_target=True,
)
