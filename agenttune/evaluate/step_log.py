# SPDX-License-Identifier: GPL-2.0-only
"""The workload's own timestamps of its steps, in a mapped file: a record costs no system call."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from agenttune.errors import HostError

_COUNT = struct.Struct("=Q")
_RECORD = struct.Struct("=QQQQ")
_SHARE = struct.Struct("=d")
_SHARE_AT = 64
_START = mmap.PAGESIZE
CAPACITY = 1 << 20


@dataclass(frozen=True, slots=True)
class Timing:
    """One step by its agent's clock, CLOCK_MONOTONIC; `parts` is a bit mask of what it did."""

    id: int
    parts: int
    begin_ns: int
    end_ns: int

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.begin_ns


class StepLog:
    """A ring of timings; one process appends, one reads."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._capacity = (len(self._map) - _START) // _RECORD.size
        self._appended = len(self)

    def append(self, step: int, parts: int, begin_ns: int, end_ns: int) -> None:
        """The count goes last, so that a reader never sees half a record."""
        place = _START + self._appended % self._capacity * _RECORD.size
        _RECORD.pack_into(self._map, place, step, parts, begin_ns, end_ns)
        self._appended += 1
        _COUNT.pack_into(self._map, 0, self._appended)

    def __len__(self) -> int:
        return int(_COUNT.unpack_from(self._map)[0])

    def since(self, first: int) -> list[Timing]:
        """The timings from number `first` on. Raises HostError when the ring has lost some."""
        end = len(self)
        found = [self._record(number) for number in range(first, end)]
        # Looked at afterwards: what was overwritten meanwhile counts too.
        if len(self) - first > self._capacity:
            raise HostError(
                f"the workload made more than {self._capacity} steps between two looks",
                hint="Give a lower --rate.",
            )
        return found

    @property
    def delay_share(self) -> float:
        """By which part of its own time the agent makes each step longer; for tests of the method,
        which need a slowdown that they know."""
        return float(_SHARE.unpack_from(self._map, _SHARE_AT)[0])

    @delay_share.setter
    def delay_share(self, share: float) -> None:
        _SHARE.pack_into(self._map, _SHARE_AT, share)

    def close(self) -> None:
        self._map.close()

    def _record(self, number: int) -> Timing:
        place = _START + number % self._capacity * _RECORD.size
        return Timing(*_RECORD.unpack_from(self._map, place))


def create_log(path: Path, capacity: int = CAPACITY) -> StepLog:
    with path.open("wb") as file:
        file.truncate(_START + capacity * _RECORD.size)
    return StepLog(path)
