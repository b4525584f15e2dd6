# SPDX-License-Identifier: GPL-2.0-only
"""Probes on kernels that hook functions, and against a disk of known speed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from measure_loads import read_disk
from probe_loads import probing

from agenttune.measure.probe_layout import ProbeName

pytestmark = pytest.mark.guest


@contextlib.contextmanager
def null_disk(delay_ns: int) -> Iterator[Path]:
    """A disk whose requests complete by a timer (irqmode 2) after the delay."""
    options = ["nr_devices=1", "irqmode=2", f"completion_nsec={delay_ns}", "queue_mode=2"]
    subprocess.run(["modprobe", "null_blk", *options], check=True)
    try:
        yield Path("/dev/nullb0")
    finally:
        subprocess.run(["rmmod", "null_blk"], check=True)


def test_a_disk_of_known_delay_is_timed_right() -> None:
    with null_disk(5_000_000) as place, probing(ProbeName.BLOCK) as probed:
        read_disk(place, 60)
        with place.open("r+b", buffering=0) as target:
            for _ in range(30):
                target.write(bytes(4096))
                os.fsync(target.fileno())
        probed.stop()
    for metric, least in (("read-latency", 60), ("write-latency", 30)):
        found = probed.times(metric)["nullb0"]
        median = found.quantile(0.5)
        assert median
        assert found.count >= least
        assert median.high >= 5_000_000
        assert median.low <= 7_500_000


def test_this_kernel_times_the_fault_function() -> None:
    with probing(ProbeName.FAULT) as probed:
        probed.stop()
    assert probed.engine.times_function
    assert probed.coverage.missing == ()
