# SPDX-License-Identifier: GPL-2.0-only
"""NAPI instances, by the netdev family of generic netlink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agenttune.host.host import Napi
from agenttune.host.tree import Tree

# include/uapi/linux/netdev.h, v6.18.
_FAMILY = "netdev"
_QUEUE_GET = 10
_NAPI_GET = 11
_DIRECTIONS = {0: "rx", 1: "tx"}


@dataclass(frozen=True, slots=True)
class NapiTable:
    """NAPI instances by interface index; NAPI ids by (interface index, direction, queue)."""

    napis: Mapping[int, tuple[Napi, ...]]
    queues: Mapping[tuple[int, str, int], int]


def read_napis(tree: Tree) -> NapiTable | None:
    """None, with a note, where the kernel does not tell; a recording cannot hold netlink."""
    if not tree.live:
        tree.note("NAPI instances", "netlink answers on a live host only")
        return None
    from pyroute2.netlink.exceptions import NetlinkError  # 0.15 s to import

    try:
        return NapiTable(_read_napis(), _read_queues())
    except (NetlinkError, OSError) as error:
        # ENOENT: no such family; EOPNOTSUPP: no such operation.
        tree.note("NAPI instances", f"netdev netlink is not in this kernel or refused: {error}")
        return None


def _read_napis() -> dict[int, tuple[Napi, ...]]:
    found: dict[int, tuple[Napi, ...]] = {}
    for reply in _dump(_NAPI_GET, _NAPI_ATTRIBUTES):
        napi = Napi(
            napi_id=reply["ID"],
            irq=reply.get("IRQ"),
            pid=reply.get("PID"),
            defer_hard_irqs=reply.get("DEFER_HARD_IRQS"),
            gro_flush_timeout_ns=_uint(reply.get("GRO_FLUSH_TIMEOUT")),
        )
        ifindex = reply["IFINDEX"]
        found[ifindex] = (*found.get(ifindex, ()), napi)
    return found


def _read_queues() -> dict[tuple[int, str, int], int]:
    return {
        (reply["IFINDEX"], _DIRECTIONS[reply["TYPE"]], reply["ID"]): reply["NAPI_ID"]
        for reply in _dump(_QUEUE_GET, _QUEUE_ATTRIBUTES)
        if "NAPI_ID" in reply and reply["TYPE"] in _DIRECTIONS
    }


# Attribute names by number, with pyroute2's word for the type; 'uint' is 4 or 8 bytes long.
_NAPI_ATTRIBUTES = (
    ("UNSPEC", "none"),
    ("IFINDEX", "uint32"),
    ("ID", "uint32"),
    ("IRQ", "uint32"),
    ("PID", "uint32"),
    ("DEFER_HARD_IRQS", "uint32"),
    ("GRO_FLUSH_TIMEOUT", "cdata"),
)
_QUEUE_ATTRIBUTES = (
    ("UNSPEC", "none"),
    ("ID", "uint32"),
    ("IFINDEX", "uint32"),
    ("TYPE", "uint32"),
    ("NAPI_ID", "uint32"),
)


def _dump(command: int, attributes: tuple[tuple[str, str], ...]) -> Iterator[dict[str, Any]]:
    """The attributes of each reply to a dump. Raises NetlinkError."""
    from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
    from pyroute2.netlink.generic import GenericNetlinkSocket

    shape = type("netdevmsg", (genlmsg,), {"nla_map": attributes})
    with GenericNetlinkSocket() as socket:
        socket.bind(_FAMILY, shape)
        request = shape()
        request["cmd"] = command
        request["version"] = 1
        replies = socket.nlm_request(
            request, msg_type=socket.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP
        )
        yield from (dict(reply["attrs"]) for reply in replies)


def _uint(data: bytes | None) -> int | None:
    return None if data is None else int.from_bytes(data, "little")
