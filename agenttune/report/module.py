# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module as text: what was built, what is loaded, what it says of steps."""

from __future__ import annotations

from agenttune.change.module_build import Built
from agenttune.module_status import ModuleStatus
from agenttune.report.table import UNKNOWN, table


def built_text(done: Built) -> str:
    signed = "signed" if done.signed else "not signed"
    return (
        f"built {done.path} in {done.seconds:.0f} s, {signed}\n"
        f"  for kernel {done.release} (vermagic {done.vermagic})\n"
    )


def module_status_text(now: ModuleStatus) -> str:
    parts = [_head(now)]
    settings = ((each.name, each.live or "none", _applied(each.applied)) for each in now.settings)
    parts.append(table(("setting (kernel.agent_latency.*)", "live", "set by us"), settings))
    if now.builds:
        parts.append("builds\n")
        rows = (
            (build.release, build.version, "yes" if build.signed else "no", build.path)
            for build in now.builds
        )
        parts.append(table(("kernel", "version", "signed", "file"), rows))
    return "".join(parts)


def _head(now: ModuleStatus) -> str:
    if now.version is None:
        head = f"agent_latency is not loaded (kernel {now.kernel})\n"
        if now.obstacle:
            return f"{head}  cannot be loaded: {now.obstacle}\n      remedy: {now.remedy}\n"
        return f"{head}  'agenttune module load' would load it\n"
    whose = UNKNOWN
    if now.ours is not None:
        whose = f"agenttune, transaction {now.transaction}" if now.ours else "someone else"
    users = UNKNOWN if now.users is None else ", ".join(now.users) or "none"
    return (
        f"agent_latency {now.version} is loaded (kernel {now.kernel})\n"
        f"  loaded by: {whose}\n"
        f"  reference count {UNKNOWN if now.references is None else now.references}, "
        f"device open in: {users}\n"
        f"  protocol {UNKNOWN if now.protocol is None else now.protocol}, "
        f"features: {', '.join(now.features) or 'none'}\n"
    )


def _applied(value: str | None) -> str:
    return "-" if value is None else value or "none"
