# SPDX-License-Identifier: GPL-2.0-only
"""Probe block against /proc/diskstats."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from measure_loads import disk, read_disk
from probe_loads import disk_file, null_disk, probing

from agenttune.measure.probe_layout import ProbeName

pytestmark = pytest.mark.bpf

EVERY_SIZE = (1 << 32) - 1


def reads_done() -> dict[str, tuple[int, int]]:
    """Completed reads by disk, and the ms that they took."""
    lines = (line.split() for line in Path("/proc/diskstats").read_text().splitlines())
    return {fields[2]: (int(fields[3]), int(fields[6])) for fields in lines}


def test_reads_are_the_kernels() -> None:
    before = reads_done()
    with probing(ProbeName.BLOCK, max_bytes=EVERY_SIZE) as probed:
        read_disk(disk(), 200)
        probed.stop()
    after = reads_done()
    found = probed.times("read-latency")
    name, reads = max(found.items(), key=lambda item: item[1].count)
    count, taken_ms = (now - then for now, then in zip(after[name], before[name], strict=True))
    assert 200 <= reads.count <= count
    # The kernel's time begins when the request is made, a moment before its issue.
    assert 0.5 * taken_ms - 2 <= reads.total / 1e6 <= taken_ms + 2
    assert probed.coverage.lost == 0


def test_a_size_limit_leaves_the_rest_to_a_count() -> None:
    with probing(ProbeName.BLOCK, max_bytes=2048) as probed:
        read_disk(disk(), 50)
        probed.stop()
    assert probed.count("requests above") >= 50
    assert sum(each.count for each in probed.times("read-latency").values()) < 50


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """What may be written to: a file on this machine's disk, or a guest's null disk."""
    if not disk().is_dir():
        with null_disk(100_000) as found:
            yield found
    else:
        with disk_file(4096) as found:
            yield found


def test_writes_are_kept_apart() -> None:
    before = reads_done()
    with scratch() as place, probing(ProbeName.BLOCK) as probed:
        with place.open("r+b", buffering=0) as target:
            for _ in range(20):
                target.write(bytes(4096))
                os.fsync(target.fileno())
        probed.stop()
        after = reads_done()
    assert sum(each.count for each in probed.times("write-latency").values()) >= 20
    for name, found in probed.times("read-latency").items():
        assert found.count <= after[name][0] - before.get(name, (0, 0))[0]
