# SPDX-License-Identifier: GPL-2.0-only
"""RPS and XPS: the CPUs that one network queue is steered to."""

from __future__ import annotations

import re
from functools import partial

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.default_affinity import read_hex, write_hex
from agenttune.change.knobs.knob import KnobOps, TargetGone
from agenttune.host.cpumask import CpuMask

# dev_valid_name() (net/core/dev.c, v6.12) allows anything but slashes, colons and white space.
_TARGET = re.compile(r"([^/:\s\0]{1,15})/((?:rx|tx)-\d{1,5})")


def _locate(kernel: Kernel, target: str, *, file: str) -> str:
    match = _TARGET.fullmatch(target)
    if match is None or match[1] in {".", ".."}:
        raise TargetGone(f"{target[:80]!r} is not a queue: INTERFACE/rx-N or tx-N is expected")
    path = f"/sys/class/net/{match[1]}/queues/{match[2]}/{file}"
    if not kernel.tree.exists(path):
        raise TargetGone(f"no network queue {target} in this network namespace now")
    return path


def _ifindex(kernel: Kernel, place: str) -> str:
    folder = place.split("/queues/", 1)[0]
    return kernel.read(f"{folder}/ifindex").strip()


def _same_interface(kernel: Kernel, place: str, context: str) -> bool:
    """A driver that is bound again makes a new interface of the same name, with fresh queues."""
    return _ifindex(kernel, place) == context


def _filtered(wanted: str, observed: str) -> bool:
    """RPS drops CPUs outside the housekeeping mask (rps_cpumask_housekeeping, v6.12)."""
    shown = CpuMask.parse_list(observed)
    return observed == wanted or (bool(shown) and shown <= CpuMask.parse_list(wanted))


RPS = KnobOps(
    locate=partial(_locate, file="rps_cpus"),
    read=read_hex,
    write=write_hex,
    accepts=_filtered,
    context=_ifindex,
    survives=_same_interface,
)
XPS = KnobOps(
    locate=partial(_locate, file="xps_cpus"),
    read=read_hex,
    write=write_hex,
    context=_ifindex,
    survives=_same_interface,
)
