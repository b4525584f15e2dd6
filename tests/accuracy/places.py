# SPDX-License-Identifier: GPL-2.0-only
"""Places an injection needs: a cold file, a slow disk, a cgroup, a ksoftirqd that gets its turn."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

FILE_BYTES = 128 << 20
# One delay per request, as a slow disk has it.
DISK_DELAY_NS = 3_000_000
_CONFIG = Path("/sys/kernel/config")
_NULLB = _CONFIG / "nullb/at-accuracy"
_CGROUP = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def nothing(_cpu: int) -> Iterator[str]:
    yield "-"


@contextlib.contextmanager
def cold_file(_cpu: int) -> Iterator[str]:
    """A file on this machine's disk, none of it in memory."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="at-accuracy-") as file:
        block = os.urandom(1 << 20)
        for _ in range(FILE_BYTES >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield file.name


@contextlib.contextmanager
def null_disk(_cpu: int) -> Iterator[str]:
    """A null_blk disk whose timer completes each request DISK_DELAY_NS after it was issued.

    Documentation/block/null_blk.rst: irqmode 2, completion_nsec.
    """
    loaded = Path("/sys/module/null_blk").exists()
    subprocess.run(["modprobe", "null_blk", "nr_devices=0"], check=True)
    mounted = _NULLB.parent.exists()
    if not mounted:
        subprocess.run(["mount", "-t", "configfs", "configfs", _CONFIG], check=True)
    try:
        _NULLB.mkdir()
        try:
            for name, value in (
                ("size", 256),
                ("irqmode", 2),
                ("completion_nsec", DISK_DELAY_NS),
                ("power", 1),
            ):
                (_NULLB / name).write_text(str(value))
            yield str(_null_node())
        finally:
            _NULLB.rmdir()
    finally:
        if not mounted:
            subprocess.run(["umount", _CONFIG], check=True)
        if not loaded:
            subprocess.run(["modprobe", "-r", "null_blk"], check=True)


def _null_node() -> Path:
    """Named after its folder, or on older kernels after its index (null_add_dev(), null_blk)."""
    nodes = [Path("/dev") / _NULLB.name]
    nodes.append(Path(f"/dev/nullb{(_NULLB / 'index').read_text().strip()}"))
    return next(node for node in nodes if node.exists())


def disk(cpu: int) -> AbstractContextManager[str]:
    """null_blk where there is a module of it; else this machine's own disk."""
    found = subprocess.run(["modprobe", "-n", "null_blk"], capture_output=True, check=False)
    return cold_file(cpu) if found.returncode else null_disk(cpu)


@contextlib.contextmanager
def cgroup(_cpu: int) -> Iterator[str]:
    """A new cgroup with the CPU controller, of version 1 or 2."""
    parent = _CGROUP / "cpu"
    if not (parent / "cgroup.procs").exists():
        parent = _CGROUP
        (parent / "cgroup.subtree_control").write_text("+cpu")
    place = parent / f"at-accuracy-{os.getpid()}"
    place.mkdir()
    try:
        yield str(place)
    finally:
        _remove(place)


def _remove(place: Path) -> None:
    """A process that ended leaves its cgroup a moment later."""
    for _ in range(100):
        try:
            place.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    place.rmdir()


@contextlib.contextmanager
def eager_ksoftirqd(cpu: int) -> Iterator[str]:
    """That CPU's ksoftirqd ahead of other tasks, lest another interrupt does its work first."""
    pid = ksoftirqd(cpu)
    before = os.getpriority(os.PRIO_PROCESS, pid)
    os.setpriority(os.PRIO_PROCESS, pid, -20)
    try:
        yield "-"
    finally:
        os.setpriority(os.PRIO_PROCESS, pid, before)
        assert os.getpriority(os.PRIO_PROCESS, pid) == before


def ksoftirqd(cpu: int) -> int:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == f"ksoftirqd/{cpu}":
                return int(path.parent.name)
    raise LookupError(f"ksoftirqd/{cpu}")


PLACES: dict[str, Callable[[int], AbstractContextManager[str]]] = {
    "disk": disk,
    "fault": disk,
    "throttle": cgroup,
    "ksoftirqd": eager_ksoftirqd,
}


def place_of(kind: str, cpu: int) -> AbstractContextManager[str]:
    return PLACES.get(kind, nothing)(cpu)
