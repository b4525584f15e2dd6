# SPDX-License-Identifier: GPL-2.0-only
"""Who else writes these knobs: irqbalance, tuned, systemd .link files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from agenttune.host.host import Writer
from agenttune.host.linkfiles import read_link_writers
from agenttune.host.tree import Tree

# The service's environment file in Debian, in Red Hat's family, and in Arch.
IRQBALANCE_CONFIGS = ("/etc/default/irqbalance", "/etc/sysconfig/irqbalance", "/etc/irqbalance.env")
_IRQBALANCE_PROGRAMS = ("/usr/sbin/irqbalance", "/usr/bin/irqbalance")
_SETTING = re.compile(r"^\s*((?:IRQBALANCE_\w+|OPTIONS|ENABLED|ONESHOT)=.*\S)\s*$", re.MULTILINE)
_TUNED_PROGRAMS = ("/usr/sbin/tuned", "/usr/bin/tuned")
_TUNED_PROFILE = "/etc/tuned/active_profile"
# policy.plan.KnobKind values; spelled out, as host/ comes before policy/.
_IRQBALANCE_WRITES = ("vector-affinity",)
_TUNED_WRITES = (
    "vector-affinity",
    "default-affinity",
    "irq-thread-affinity",
    "sysctl",
    "task-affinity",
    "irqbalance-bans",
)


def read_writers(tree: Tree, comms: Mapping[int, str]) -> tuple[Writer, ...]:
    """`comms` are the running processes by pid; empty when the tree does not tell."""
    found = (_irqbalance(tree, comms), _tuned(tree, comms))
    return (*(writer for writer in found if writer), *read_link_writers(tree))


def _irqbalance(tree: Tree, comms: Mapping[int, str]) -> Writer | None:
    active, pids = _running(comms, "irqbalance")
    configs = [path for path in IRQBALANCE_CONFIGS if tree.exists(path)]
    installed = configs or any(tree.exists(path) for path in _IRQBALANCE_PROGRAMS)
    if not active and not installed:
        return None
    details = [*pids]
    for path in configs:
        details += [f"{setting} ({path})" for setting in _SETTING.findall(tree.read(path) or "")]
    details += [f"socket {path}" for path in irqbalance_sockets(tree)]
    return Writer("irqbalance", active, "; ".join(details), _IRQBALANCE_WRITES)


def irqbalance_sockets(tree: Tree) -> tuple[str, ...]:
    """Its control sockets, one a process."""
    folder = "/run/irqbalance"
    return tuple(f"{folder}/{name}" for name in tree.names(folder) if name.endswith(".sock"))


def _tuned(tree: Tree, comms: Mapping[int, str]) -> Writer | None:
    active, pids = _running(comms, "tuned")
    if not active and not any(tree.exists(path) for path in _TUNED_PROGRAMS):
        return None
    profile = tree.read(_TUNED_PROFILE)
    details = [*pids, *([f"profile {profile} ({_TUNED_PROFILE})"] if profile else [])]
    return Writer("tuned", active, "; ".join(details), _TUNED_WRITES)


def _running(comms: Mapping[int, str], name: str) -> tuple[bool | None, Iterator[str]]:
    pids = sorted(pid for pid, comm in comms.items() if comm == name)
    return (bool(pids) if comms else None), (f"pid {pid}" for pid in pids)
