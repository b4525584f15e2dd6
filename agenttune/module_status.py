# SPDX-License-Identifier: GPL-2.0-only
"""The module as it is: loaded or not, by whom, its settings, and which kernels have a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agenttune.attach import info
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs.module import KNOB
from agenttune.change.processes import holders
from agenttune.change.verify import Condition, status
from agenttune.host.modinfo import read_modinfo
from agenttune.host.module import BUILDS, DEVICE, MODULE, SYSFS, read_module
from agenttune.policy.plan import KnobKind


@dataclass(frozen=True, slots=True)
class Setting:
    """A sysctl of the module; `applied` is what agenttune set, None when it did not."""

    name: str
    live: str
    applied: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """A module file, the kernel that it is for and what it says about itself."""

    release: str
    path: str
    version: str
    srcversion: str
    signed: bool


@dataclass(frozen=True, slots=True)
class ModuleStatus:
    """`version` None: not loaded. `transaction`: which of ours loaded it, None for someone else's
    load. `ours` and `users` None: this user may not see it. `features`: what this kernel lets the
    module do. `obstacle`: why it could not be loaded, with a remedy; empty when it could or is.
    """

    kernel: str
    version: str | None
    ours: bool | None = None
    transaction: int | None = None
    references: int | None = None
    users: tuple[str, ...] | None = None
    protocol: int | None = None
    features: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    builds: tuple[Build, ...] = ()
    obstacle: str = ""
    remedy: str = ""


def module_status(
    kernel: Kernel, journal: Journal | None, *, journal_read: bool = True
) -> ModuleStatus:
    """By reading alone. `journal_read` False: this user may not see the journal."""
    tree = kernel.tree
    release = tree.read("/proc/sys/kernel/osrelease") or ""
    found = read_module(tree, release)
    builds = find_builds(Path(tree.path(BUILDS)))
    if found is None or found.loaded is None:
        why, remedy = (found.obstacle, found.remedy) if found else ("there is no /sys/module", "")
        return ModuleStatus(release, None, builds=builds, obstacle=why, remedy=remedy)
    references = tree.number(f"{SYSFS}/refcnt")
    users = holders(kernel, DEVICE)
    protocol, features = _protocol(tree.path(DEVICE))
    transaction, applied = _ours(kernel, journal)
    live = found.settings or {}
    return ModuleStatus(
        kernel=release,
        version=found.loaded,
        ours=transaction is not None if journal_read else None,
        transaction=transaction,
        references=references,
        users=users if journal_read else None,
        protocol=protocol,
        features=features,
        settings=tuple(Setting(name, live[name], applied.get(name)) for name in sorted(live)),
        builds=builds,
    )


def find_builds(folder: Path) -> tuple[Build, ...]:
    """The own builds by kernel; a file that is no module is left out."""
    found = []
    for file in sorted(folder.glob(f"*/{MODULE}.ko")):
        info = read_modinfo(file)
        if info is not None:
            build = Build(info.release, str(file), info.version, info.srcversion, info.signed)
            found.append(build)
    return tuple(found)


def _protocol(device: str) -> tuple[int | None, tuple[str, ...]]:
    try:
        return info(device)
    except OSError:
        return None, ()


def _ours(kernel: Kernel, journal: Journal | None) -> tuple[int | None, Mapping[str, str]]:
    """The transaction whose load is the one that is there, and the settings that we applied."""
    transaction: int | None = None
    applied: dict[str, str] = {}
    for item in status(kernel, journal).items:
        if item.entry.knob == KNOB and item.condition is Condition.APPLIED:
            transaction = item.txn
        elif item.entry.knob.kind is KnobKind.MODULE_SETTING:
            applied.setdefault(item.entry.knob.target, item.entry.wanted)
    return transaction, applied
