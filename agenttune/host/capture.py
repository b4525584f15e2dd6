# SPDX-License-Identifier: GPL-2.0-only
"""read_host: one snapshot of a live host or a recorded tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agenttune.errors import HostError
from agenttune.host.blocks import read_blocks
from agenttune.host.counters import read_softirqs, read_softnet
from agenttune.host.cpumask import CpuMask
from agenttune.host.cpus import read_topology
from agenttune.host.devices import read_pci_devices
from agenttune.host.host import Host
from agenttune.host.interrupts import Devices, read_interrupts
from agenttune.host.module import read_module
from agenttune.host.network import read_interfaces, read_sysctls
from agenttune.host.selector import Selector
from agenttune.host.tasks import find_tasks_in, read_comms, read_irq_threads, read_napi_threads
from agenttune.host.tree import Tree
from agenttune.host.writers import read_writers

_DEFAULT_AFFINITY = "/proc/irq/default_smp_affinity"


def read_host(root: Path = Path("/"), selectors: Sequence[Selector] = ()) -> Host:
    """Read the host at `root`: '/' is this one, another folder a recording of its /proc and /sys.

    What cannot be read is None in the Host, with a line in `Host.unknown`. Raises HostError when
    `root` is no folder or holds no CPU.
    """
    if not root.is_dir():
        raise HostError(f"{root}: no such folder", hint="Give --root a recorded host's folder.")
    tree = Tree(root)
    topology = read_topology(tree)
    comms = read_comms(tree)
    if not comms:
        tree.note("processes and IRQ threads", "no /proc/PID")
    devices = Devices(
        pci=read_pci_devices(tree),
        interfaces=read_interfaces(tree),
        blocks=read_blocks(tree),
        threads=read_irq_threads(tree, comms),
    )
    vectors, arch = read_interrupts(tree, devices)
    kernel = _kernel(tree)
    return Host(
        root=str(root),
        live=tree.live,
        kernel=kernel,
        boot_id=_noted(tree, "boot id", "/proc/sys/kernel/random/boot_id"),
        topology=topology,
        vectors=vectors,
        arch_interrupts=arch,
        default_affinity=_default_affinity(tree),
        interfaces=devices.interfaces,
        blocks=devices.blocks,
        softirqs=read_softirqs(tree),
        softnet=read_softnet(tree, topology.online),
        sysctls=read_sysctls(tree),
        writers=read_writers(tree, comms),
        agents=find_tasks_in(tree, selectors),
        napi_threads=read_napi_threads(tree, comms),
        module=read_module(tree, kernel),
        unknown=tree.unknown(),
    )


def _kernel(tree: Tree) -> str | None:
    """The release; an old recording may hold /proc/version alone: 'Linux version RELEASE (…'."""
    release = tree.read("/proc/sys/kernel/osrelease")
    words = (tree.read("/proc/version") or "").split()
    if release is None and words[:2] == ["Linux", "version"]:
        release = words[2]
    return release or _noted(tree, "kernel release", "/proc/sys/kernel/osrelease")


def _noted(tree: Tree, what: str, path: str) -> str | None:
    text = tree.read(path)
    if not text:
        tree.note(what, f"no readable {path}")
    return text or None


def _default_affinity(tree: Tree) -> CpuMask | None:
    mask = tree.mask_hex(_DEFAULT_AFFINITY)
    if mask is None:
        tree.note("default affinity of new interrupts", f"no readable {_DEFAULT_AFFINITY}")
    return mask
