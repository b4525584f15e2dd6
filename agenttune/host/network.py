# SPDX-License-Identifier: GPL-2.0-only
"""Network interfaces: queues, steering masks, NAPI instances."""

from __future__ import annotations

from agenttune.host.devices import driver_of, pci_address_of
from agenttune.host.host import NetInterface, NetQueue
from agenttune.host.napi import NapiTable, read_napis
from agenttune.host.tree import Tree

_NET = "/sys/class/net"
_STEERING = {"rx": "rps_cpus", "tx": "xps_cpus"}
_SYSCTLS = ("net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.dev_weight")


def read_interfaces(tree: Tree) -> tuple[NetInterface, ...]:
    """The interfaces of this network namespace; virtual ones have no device."""
    if not tree.exists(_NET):
        tree.note("network interfaces", f"no {_NET}")
        return ()
    napis = read_napis(tree)
    # A file here, such as bonding_masters, has no queues folder.
    names = (n for n in tree.names(_NET) if tree.exists(f"{_NET}/{n}/ifindex"))
    return tuple(_read_interface(tree, name, napis) for name in names)


def read_sysctls(tree: Tree) -> dict[str, int] | None:
    """The softirq budgets by sysctl name."""
    values = {}
    for name in _SYSCTLS:
        path = "/proc/sys/" + name.replace(".", "/")
        value = tree.number(path)
        if value is None:
            tree.note(name, f"no readable {path}")
        else:
            values[name] = value
    return values or None


def _read_interface(tree: Tree, name: str, table: NapiTable | None) -> NetInterface:
    folder = f"{_NET}/{name}"
    ifindex = tree.number(f"{folder}/ifindex")
    threaded = tree.number(f"{folder}/threaded")
    return NetInterface(
        name=name,
        ifindex=ifindex,
        device=pci_address_of(tree, folder),
        driver=driver_of(tree, f"{folder}/device"),
        queues=_queues(tree, folder, ifindex, table),
        napis=None if table is None or ifindex is None else table.napis.get(ifindex, ()),
        threaded=None if threaded is None else threaded != 0,
    )


def _queues(
    tree: Tree, folder: str, ifindex: int | None, table: NapiTable | None
) -> tuple[NetQueue, ...]:
    """Reading xps_cpus of a one-queue interface is ENOENT (net/core/net-sysfs.c, v6.12)."""
    served = {} if table is None or ifindex is None else table.queues
    return tuple(
        NetQueue(
            direction=direction,
            index=index,
            steering=tree.mask_hex(f"{folder}/queues/{direction}-{index}/{file}"),
            napi_id=served.get((ifindex or 0, direction, index)),
        )
        for direction, file in _STEERING.items()
        for index in tree.numbers(f"{folder}/queues", f"{direction}-")
    )
