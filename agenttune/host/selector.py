# SPDX-License-Identifier: GPL-2.0-only
"""Selector: which tasks are the agent ('comm:agent', 'pid:42', 'cgroup:/a/b', 'unit:x.service')."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agenttune.errors import InputError


class SelectorKind(StrEnum):
    COMM = "comm"
    PID = "pid"
    CGROUP = "cgroup"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class Selector:
    """One way to choose agent tasks; written 'kind:value'.

    comm: a thread's name as the kernel keeps it, at most 15 bytes; exact match.
    pid: a process and all its threads. cgroup: a cgroup path and everything below it.
    unit: a systemd unit's name.
    """

    kind: SelectorKind
    value: str

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Raises InputError saying what would be right."""
        kind_text, colon, value = text.partition(":")
        kinds = ", ".join(f"{kind}:" for kind in SelectorKind)
        if not colon or kind_text not in list(SelectorKind):
            raise InputError(f"agent selector {text[:80]!r} must start with one of {kinds}")
        kind = SelectorKind(kind_text)
        if not value or "\0" in value:
            raise InputError(f"agent selector {text[:80]!r} names nothing after '{kind}:'")
        _CHECKS[kind](value)
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def _check_comm(value: str) -> None:
    # TASK_COMM_LEN is 16 with the terminating NUL (include/linux/sched.h, v6.12).
    if len(value.encode()) > 15:
        raise InputError(
            f"agent selector comm:{value[:40]} is longer than the 15 bytes the kernel keeps",
            hint=f"Use comm:{value.encode()[:15].decode(errors='ignore')}.",
        )


def _check_pid(value: str) -> None:
    if not value.isascii() or not value.isdigit() or len(value) > 7 or int(value) == 0:
        raise InputError(f"agent selector pid:{value[:40]} is not a process id")


def _check_cgroup(value: str) -> None:
    if not value.startswith("/") or ".." in value.split("/"):
        raise InputError(
            f"agent selector cgroup:{value[:80]} must be an absolute path below the cgroup mount",
            hint="Use the path that /proc/PID/cgroup prints, such as cgroup:/my.slice/agent.",
        )


def _check_unit(value: str) -> None:
    if "/" in value or "." not in value:
        raise InputError(
            f"agent selector unit:{value[:80]} is not a unit name",
            hint="Give the whole name, such as unit:agent.service.",
        )


_CHECKS = {
    SelectorKind.COMM: _check_comm,
    SelectorKind.PID: _check_pid,
    SelectorKind.CGROUP: _check_cgroup,
    SelectorKind.UNIT: _check_unit,
}
