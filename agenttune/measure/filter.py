# SPDX-License-Identifier: GPL-2.0-only
"""Filter: agent selectors in the form that the kernel can decide at each event."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agenttune.errors import HostError, InputError
from agenttune.host.selector import Selector, SelectorKind

# PROC_PID_INIT_INO, include/linux/proc_ns.h, v6.12.
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

# AT_SELECTORS in bpf/layout.h.
MAX_OF_A_KIND = 16


@dataclass(frozen=True, slots=True)
class Filter:
    """Thread names, process ids, and cgroup v2 ids (which stand for all cgroups below too).

    Kernel threads and agenttune itself are agents only by their pid.
    """

    comms: tuple[bytes, ...] = ()
    tgids: tuple[int, ...] = ()
    cgroups: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.comms or self.tgids or self.cgroups)


def resolve(selectors: Sequence[Selector]) -> Filter:
    """Raises InputError for a selector that names nothing, HostError for what cannot be watched."""
    comms: list[bytes] = []
    tgids: list[int] = []
    cgroups: list[int] = []
    for selector in selectors:
        match selector.kind:
            case SelectorKind.COMM:
                comms.append(selector.value.encode())
            case SelectorKind.PID:
                tgids.append(_tgid(selector))
            case SelectorKind.CGROUP:
                cgroups.append(_cgroup_id(selector))
            case SelectorKind.UNIT:
                cgroups.extend(_unit_cgroup_ids(selector))
    for kind, chosen in (("comm:", comms), ("pid:", tgids), ("cgroup: and unit:", cgroups)):
        if len(chosen) > MAX_OF_A_KIND:
            raise InputError(
                f"{len(chosen)} agent selectors of kind {kind} are more than {MAX_OF_A_KIND}",
                hint="Put the agents under one cgroup and select that.",
            )
    return Filter(tuple(comms), tuple(tgids), tuple(cgroups))


def in_initial_pid_namespace() -> bool:
    """Whether this process knows processes by the ids that the kernel compares."""
    return Path("/proc/self/ns/pid").stat().st_ino == _INITIAL_PID_NAMESPACE


def _tgid(selector: Selector) -> int:
    """The kernel compares ids of the initial PID namespace; elsewhere they mean other processes."""
    if not in_initial_pid_namespace():
        raise HostError(
            f"agent selector {selector} cannot be used inside a PID namespace",
            hint="Run agenttune on the host, or select with comm: or cgroup:.",
        )
    if not Path(f"/proc/{selector.value}").is_dir():
        raise InputError(f"agent selector {selector}: no such process")
    return int(selector.value)


def _cgroup_id(selector: Selector) -> int:
    mount = _cgroup2_mount(selector)
    try:
        # A cgroup directory's inode number is its id (kernfs_ino, include/linux/kernfs.h, v6.12).
        return (mount / selector.value.lstrip("/")).stat().st_ino
    except OSError as error:
        raise InputError(
            f"agent selector {selector}: no such cgroup below {mount}",
            hint="Use the path after '0::' in /proc/PID/cgroup; version 1 paths do not count.",
        ) from error


def _unit_cgroup_ids(selector: Selector) -> list[int]:
    """A unit's cgroup directory is named after it, wherever its slice is."""
    mount = _cgroup2_mount(selector)
    ids = [
        Path(folder, selector.value).stat().st_ino
        for folder, names, _ in os.walk(mount)
        if selector.value in names
    ]
    if not ids:
        raise InputError(
            f"agent selector {selector}: no cgroup of that name below {mount}",
            hint="Check that the unit runs: systemctl status " + selector.value,
        )
    return ids


def _cgroup2_mount(selector: Selector) -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Fields: id parent major:minor root mount-point options tags - type source options.
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    raise HostError(
        f"agent selector {selector} needs cgroup version 2, which is not mounted",
        hint="Select with comm: or pid:, or mount it: mount -t cgroup2 none /sys/fs/cgroup.",
    )
