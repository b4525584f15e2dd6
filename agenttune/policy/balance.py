# SPDX-License-Identifier: GPL-2.0-only
"""Balance: the least loaded CPU that still has interrupt vectors free."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from agenttune.host.cpumask import CpuMask

# Vectors that devices may use on one x86 CPU: 256 less 32 exceptions, about 20 system vectors and
# the legacy ones (arch/x86/include/asm/irq_vectors.h, v6.12); irqbalance issue 303 reports the
# same figure from the ENOSPC side.
VECTORS_PER_CPU = 200


class Balance:
    """Loads and vectors in use by CPU, growing as vectors are placed.

    Keys in the heaps only ever grow too small, so a stale top is pushed back with its present key:
    one placement costs O(log CPUs), however many vectors there are.
    """

    def __init__(self, load: Mapping[int, int], used: Mapping[int, int]) -> None:
        self.load = dict(load)
        self.used = dict(used)
        self._heaps: dict[tuple[CpuMask, bool], list[tuple[int, int, int]]] = {}

    def add(self, cpu: int, weight: int, vectors: int) -> None:
        self.load[cpu] = self.load.get(cpu, 0) + weight
        self.used[cpu] = self.used.get(cpu, 0) + vectors

    def has_room(self, cpu: int, vectors: int) -> bool:
        return self.used.get(cpu, 0) + vectors <= VECTORS_PER_CPU

    def choose(self, cpus: CpuMask, vectors: int, idle: bool) -> int | None:
        """The least loaded of `cpus` with room; for idle vectors the one with fewest vectors.

        Weight says nothing about vectors that did not fire: by it all would go to one CPU.
        """
        heap = self._heap(cpus, idle)
        full = []
        chosen = None
        while heap and chosen is None:
            entry = heap[0]
            cpu = entry[2]
            present = self._key(cpu, idle)
            if entry != present:
                heapq.heapreplace(heap, present)
            elif self.has_room(cpu, vectors):
                chosen = cpu
            else:
                full.append(heapq.heappop(heap))
        for entry in full:
            if self.has_room(entry[2], 1):
                heapq.heappush(heap, entry)
        return chosen

    def _heap(self, cpus: CpuMask, idle: bool) -> list[tuple[int, int, int]]:
        heap = self._heaps.get((cpus, idle))
        if heap is None:
            heap = sorted(self._key(cpu, idle) for cpu in cpus)
            self._heaps[cpus, idle] = heap
        return heap

    def _key(self, cpu: int, idle: bool) -> tuple[int, int, int]:
        load, used = self.load.get(cpu, 0), self.used.get(cpu, 0)
        return (used, load, cpu) if idle else (load, used, cpu)
