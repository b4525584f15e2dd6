# SPDX-License-Identifier: GPL-2.0-only
"""Refusal: why the kernel did not take a value, and what helps."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum

from agenttune.host.devices import pci_address_in
from agenttune.policy.plan import Knob, KnobKind


class Cause(StrEnum):
    """What a failed write means."""

    MANAGED = "managed"
    PER_CPU = "per-cpu"
    VECTORS_EXHAUSTED = "vectors-exhausted"
    READ_ONLY = "read-only"
    INVALID = "invalid"
    GONE = "gone"
    NOT_PERMITTED = "not-permitted"
    UNSUPPORTED = "unsupported"
    BUSY = "busy"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`what` continues 'the write failed: '; `remedy` is a full sentence."""

    cause: Cause
    what: str
    remedy: str

    @property
    def unmovable(self) -> bool:
        """The kernel keeps this setting to itself; nothing is wrong with the rest of a plan."""
        return self.cause in {Cause.MANAGED, Cause.PER_CPU}

    def __str__(self) -> str:
        return f"{self.cause}: {self.what}"


_MANAGED = Refusal(
    Cause.MANAGED,
    "the kernel manages this vector's affinity",
    "Boot with isolcpus=managed_irq,CPUS, or give the device fewer queues.",
)
_PER_CPU = Refusal(
    Cause.PER_CPU,
    "the interrupt is bound to its CPU, as timers are",
    "Take the CPU out of the agent's CPUs, or stop what uses this interrupt.",
)
_BY_ERRNO = {
    errno.ENOSPC: (
        Cause.VECTORS_EXHAUSTED,
        "no free interrupt vector on the wanted CPUs (an x86 CPU has about 200)",
        "Allow more housekeeping CPUs, or give devices fewer queues.",
    ),
    errno.EROFS: (
        Cause.READ_ONLY,
        "the file system is mounted read-only here",
        "Run outside the container or systemd sandbox (ProtectKernelTunables=no).",
    ),
    errno.EINVAL: (
        Cause.INVALID,
        "the kernel refuses the value",
        "If a CPU of it went offline, plan again; if it was the old value, set one by hand.",
    ),
    errno.ENODEV: (Cause.GONE, "the target is gone", "Plan again."),
    errno.ENOENT: (Cause.GONE, "the target is gone", "Plan again."),
    errno.ESRCH: (Cause.GONE, "the task has ended", "Plan again."),
    errno.EACCES: (Cause.NOT_PERMITTED, "access is denied", "Run as root."),
    errno.EPERM: (
        Cause.NOT_PERMITTED,
        "the kernel does not permit it",
        "Run with all capabilities: no container limits, no lockdown, no security module denial.",
    ),
    errno.EOPNOTSUPP: (Cause.UNSUPPORTED, "the driver does not support it", "Leave it out."),
    errno.EBUSY: (Cause.BUSY, "the kernel is busy with an earlier change", "Try again."),
}


def unmovable(knob: Knob) -> Refusal:
    """Why the kernel keeps a vector to itself; only MSI vectors are managed."""
    return _MANAGED if pci_address_in(knob.target.split("/")[0]) else _PER_CPU


def classify(knob: Knob, error: OSError) -> Refusal:
    """What `error`, from reading or writing `knob`, means."""
    code = error.errno or 0
    if knob.kind is KnobKind.VECTOR_AFFINITY and code in {errno.EIO, errno.EPERM}:
        # write_irq_affinity(), kernel/irq/proc.c: EIO up to v6.11, EPERM since v6.12, for a
        # managed vector and for one whose chip or flags forbid it (timers, per-CPU).
        return unmovable(knob)
    name = errno.errorcode.get(code, "")
    if code in _BY_ERRNO:
        cause, what, remedy = _BY_ERRNO[code]
        return Refusal(cause, f"{what} ({name})", remedy)
    what = f"{error.strerror or error} ({name})" if name else str(error)
    return Refusal(Cause.FAILED, what, "See the kernel's log: dmesg.")
