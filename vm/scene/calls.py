# SPDX-License-Identifier: GPL-2.0-only
"""Round trips of tool calls, shared between the agent that makes them and those who judge."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_COUNT = struct.Struct("=Q")
_CALL = struct.Struct("=QQ")


@dataclass(frozen=True)
class Call:
    """One tool call on CLOCK_MONOTONIC."""

    started_ns: int
    round_trip_ns: int


class CallLog:
    """A file of calls, mapped, so that the agent's log costs it no system call."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.capacity = (len(self._map) - _COUNT.size) // _CALL.size

    def append(self, started_ns: int, round_trip_ns: int) -> None:
        """Adds one call; the count goes last, so a reader never sees half a call.

        Raises ValueError when the log is full.
        """
        count = len(self)
        if count == self.capacity:
            raise ValueError("the log of calls is full")
        _CALL.pack_into(self._map, _COUNT.size + count * _CALL.size, started_ns, round_trip_ns)
        _COUNT.pack_into(self._map, 0, count + 1)

    def __len__(self) -> int:
        return int(_COUNT.unpack_from(self._map)[0])

    def since(self, first: int) -> list[Call]:
        """The calls from number `first` on."""
        places = range(first, len(self))
        return [
            Call(*_CALL.unpack_from(self._map, _COUNT.size + place * _CALL.size))
            for place in places
        ]

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()


def create_log(path: Path, capacity: int) -> CallLog:
    """A new log for at most `capacity` calls."""
    with path.open("wb") as file:
        file.truncate(_COUNT.size + capacity * _CALL.size)
    return CallLog(path)


@dataclass(frozen=True)
class Summary:
    """Quantiles of `count` round trips, each a value that occurred (nearest rank)."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int

    def __str__(self) -> str:
        shown = [f"{ns / 1e6:.2f}" for ns in (self.p50_ns, self.p90_ns, self.p99_ns)]
        return f"p50 {shown[0]}  p90 {shown[1]}  p99 {shown[2]} ms  ({self.count} calls)"


def summarize(round_trips_ns: list[int]) -> Summary | None:
    """The quantiles of `round_trips_ns`; None when there are none."""
    if not round_trips_ns:
        return None
    ordered = sorted(round_trips_ns)
    p50, p90, p99 = (_nearest_rank(ordered, percent) for percent in (50, 90, 99))
    return Summary(len(ordered), p50, p90, p99)


def _nearest_rank(ordered: list[int], percent: int) -> int:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
