# SPDX-License-Identifier: GPL-2.0-only
"""Keeper: the samples of the steps that are worth keeping, as bytes."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterable

from agenttune.measure.steps_layout import (
    STEP_SAMPLE,
    StepRecord,
    StepSample,
    WaitSample,
)
from agenttune.measure.trace import StepKind

# The slowest steps of each kind, when not all are saved.
SLOWEST = 64

_TYPE = struct.Struct("=I")
_TIMES = struct.Struct("=QQQ")
_TID = struct.Struct("=I")
_KIND = struct.Struct("=H")
_STEP = StepSample.step.offset
_WAIT_KEY = struct.Struct("=QQI")
_WAIT_KEY_AT = WaitSample.step_id.offset

# A step's id, begin and thread.
StepKey = tuple[int, int, int]


class Keeper:
    """Groups of one step's sample, then those of its waits; `slowest` None keeps every step.

    `floors` says from which duration on a kind's step can still be kept.
    """

    def __init__(self, slowest: int | None = SLOWEST) -> None:
        self._slowest = slowest
        self._groups: dict[StepKey, list[bytes]] = {}
        self._ranking: dict[int, list[tuple[int, StepKey]]] = {
            index: [] for index in range(len(StepKind))
        }

    def add(self, samples: Iterable[bytes]) -> None:
        groups = self._groups
        for sample in samples:
            if _TYPE.unpack_from(sample)[0] == STEP_SAMPLE:
                self._add_step(sample)
            else:
                group = groups.get(_WAIT_KEY.unpack_from(sample, _WAIT_KEY_AT))
                if group is not None:
                    group.append(sample)

    def floors(self) -> dict[StepKind, int]:
        kinds = tuple(StepKind)
        return {
            kinds[index]: ranking[0][0]
            for index, ranking in self._ranking.items()
            if self._slowest is not None and len(ranking) >= self._slowest
        }

    def groups(self) -> list[list[bytes]]:
        return list(self._groups.values())

    def _add_step(self, sample: bytes) -> None:
        step_id, begin_ns, end_ns = _TIMES.unpack_from(sample, _STEP)
        tid = _TID.unpack_from(sample, _STEP + StepRecord.tid.offset)[0]
        key = (step_id, begin_ns, tid)
        if self._slowest is not None:
            kind = _KIND.unpack_from(sample, _STEP + StepRecord.kind.offset)[0]
            ranking, entry = self._ranking[kind], (end_ns - begin_ns, key)
            if len(ranking) < self._slowest:
                heapq.heappush(ranking, entry)
            else:
                out = heapq.heappushpop(ranking, entry)
                if out is entry:
                    return
                del self._groups[out[1]]
        self._groups[key] = [sample]
