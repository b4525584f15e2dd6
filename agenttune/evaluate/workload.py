# SPDX-License-Identifier: GPL-2.0-only
"""Workload: what the built-in agent does in a step, by name, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Part(StrEnum):
    """What a step may do, in the order in which it does it."""

    RPC = "rpc"  # a JSON request and its answer over TCP, awaited with epoll
    URING_RPC = "uring-rpc"  # the same, received through io_uring with the step in user_data
    CACHED_READ = "cached-read"
    DIRECT_READ = "direct-read"
    MMAP = "mmap"  # retrieval from a mapped index whose pages are cold
    PARSE = "parse"
    SUBPROCESS = "subprocess"  # a tool that is a program of its own


# Part → how likely a step does it. A part that a few steps do is a mode of its own in the tail:
# shares keep clear of 10 %, 1 % and 0.1 %, where a quantile would jump between two modes.
MIXES: Mapping[str, Mapping[Part, float]] = MappingProxyType(
    {
        "tools": {Part.RPC: 1.0, Part.PARSE: 1.0},
        "uring": {Part.URING_RPC: 1.0, Part.PARSE: 1.0},
        "lookup": {Part.RPC: 1.0, Part.DIRECT_READ: 0.3, Part.PARSE: 1.0},
        "retrieval": {
            Part.CACHED_READ: 1.0,
            Part.DIRECT_READ: 1.0,
            Part.MMAP: 1.0,
            Part.PARSE: 1.0,
        },
        "mixed": {
            Part.RPC: 1.0,
            Part.CACHED_READ: 0.5,
            Part.DIRECT_READ: 0.3,
            Part.MMAP: 0.3,
            Part.PARSE: 1.0,
            Part.SUBPROCESS: 0.03,
        },
    }
)
DEFAULT_MIX = "mixed"
READS = frozenset({Part.CACHED_READ, Part.DIRECT_READ, Part.MMAP})
CALLS = frozenset({Part.RPC, Part.URING_RPC})


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes, both ends included; drawn so that each power of two is as likely as the next."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Workload:
    """One agent loop. `rate` steps begin in a second at most; None: one right after the other.

    `data`: the file or block device that is read; '' makes a file for the run. `tool`: HOST:PORT
    of a tool server that runs already; '' starts one on loopback. `cpus`: where the agent starts,
    '' for wherever the kernel likes.
    """

    mix: str = DEFAULT_MIX
    rate: float | None = 500.0
    seed: int = 1
    rpc_bytes: Sizes = Sizes(1 << 10, 16 << 10)
    read_bytes: Sizes = Sizes(4 << 10, 64 << 10)
    data: str = ""
    tool: str = ""
    cpus: str = ""

    @property
    def parts(self) -> Mapping[Part, float]:
        return MIXES[self.mix]
