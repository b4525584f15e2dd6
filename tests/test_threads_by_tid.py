# SPDX-License-Identifier: GPL-2.0-only
"""Threads that are found by their ids: always by bcc's programs, by libbpf's on some kernels."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

import agenttune
from agenttune.measure.backend import BCC, LIBBPF, Backend
from agenttune.measure.bpf_engine import BpfEngine
from agenttune.measure.filter import Filter
from agenttune.measure.libbpf import KernelTypes, Libbpf
from agenttune.measure.steps_engine import BpfSteps

pytestmark = pytest.mark.bpf


class WithoutTaskStorage(KernelTypes):
    """This kernel, as if its task storage were not always found."""

    def finds_task_storage(self) -> bool:
        return False


BY_TID = replace(LIBBPF, kernel=WithoutTaskStorage)


@pytest.fixture(params=[BY_TID, BCC], ids=["libbpf", "bcc"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param is BCC:
        request.getfixturevalue("bcc_here")
    return request.param  # type: ignore[no-any-return]


@contextmanager
def engine_of(backend: Backend, room: int) -> Iterator[BpfEngine]:
    """Measures this process, with room for so many of its threads at a time."""
    chosen = Filter(tgids=(os.getpid(),))
    with closing(BpfEngine(chosen, {"threads": room}, backend=backend)) as engine:
        engine.open_window()
        yield engine


def test_task_storage_is_found_since_linux_6_2() -> None:
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    with closing(Libbpf()) as library, closing(KernelTypes(library)) as types:
        assert types.finds_task_storage() == (release >= (6, 2))


def test_threads_that_ended_leave_their_room_to_others(backend: Backend) -> None:
    """Room for 16 at a time, and 100 one after another."""
    with engine_of(backend, room=16) as engine:
        for _ in range(100):
            thread = threading.Thread(target=time.sleep, args=(0.002,))
            thread.start()
            thread.join()
            # The kernel frees a thread after a grace period.
            time.sleep(0.02)
        engine.close_window()
        found = engine.counters()
    assert sum(histogram.count for histogram in found.wakeups.values()) >= 100
    assert found.coverage.lost == 0


def test_a_thread_for_which_there_is_no_room_is_counted(backend: Backend) -> None:
    all_slept = threading.Barrier(12)

    def sleep() -> None:
        time.sleep(0.002)
        all_slept.wait()

    threads = [threading.Thread(target=sleep) for _ in range(all_slept.parties)]
    with engine_of(backend, room=4) as engine:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.close_window()
        found = engine.counters()
    assert found.coverage.lost >= len(threads) - 4


def test_steps_find_their_threads(backend: Backend) -> None:
    with closing(BpfSteps(Filter(tgids=(os.getpid(),)), backend=backend)) as steps:
        steps.open_window()
        for _ in range(20):
            with agenttune.step("sleep"):
                time.sleep(0.002)
        steps.close_window()
        coverage = steps.figures().coverage
    assert (coverage.ended, coverage.stray_ends, coverage.probes.lost) == (20, 0, 0)
    assert coverage.matched >= 20
