# SPDX-License-Identifier: GPL-2.0-only
"""A probe around a load, and agents whose waits are known."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from measure_loads import AGENT, COMM, disk

from agenttune.host.selector import Selector
from agenttune.measure.filter import resolve
from agenttune.measure.histogram import Histogram
from agenttune.measure.measurement import Coverage
from agenttune.measure.probe_engine import ProbeEngine, Sampled, room
from agenttune.measure.probe_layout import DEFAULT_MAX_BYTES, ProbeName
from agenttune.measure.probe_report import counts, distributions

BY_COMM = (Selector.parse(f"comm:{COMM}"),)


class Probed:
    """An open window; the figures are those up to stop()."""

    def __init__(self, engine: ProbeEngine) -> None:
        self.engine = engine
        self._samples: tuple[Sampled, ...] = ()
        self.coverage = Coverage(0, 0, 0)

    def stop(self) -> None:
        self.engine.close_window()
        self._samples = self.engine.take()
        self.coverage = self.engine.coverage()

    def times(self, metric: str) -> Mapping[str, Histogram]:
        """By subject."""
        return {
            each.subject: each.histogram
            for each in distributions(self._samples, None)
            if each.metric == metric
        }

    def count(self, what: str) -> int:
        """Over all subjects; `what` is the beginning of the words."""
        return sum(each.count for each in counts(self._samples) if each.what.startswith(what))


@contextlib.contextmanager
def disk_file(size: int) -> Iterator[Path]:
    """So many bytes to read from a real disk: a file on it, or the disk itself."""
    found = disk()
    if not found.is_dir():
        yield found
        return
    file = found / f"at-test-{os.getpid()}"
    try:
        with file.open("wb", buffering=0) as target:
            target.write(bytes(size))
            os.fsync(target.fileno())
        yield file
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def null_disk(delay_ns: int) -> Iterator[Path]:
    """A disk whose requests complete by a timer (irqmode 2) after the delay; only in guests."""
    options = ["nr_devices=1", "irqmode=2", f"completion_nsec={delay_ns}", "queue_mode=2"]
    subprocess.run(["modprobe", "null_blk", *options], check=True)
    try:
        yield Path("/dev/nullb0")
    finally:
        subprocess.run(["rmmod", "null_blk"], check=True)


@contextlib.contextmanager
def probing(
    name: ProbeName, selectors: Sequence[Selector] = (), max_bytes: int = DEFAULT_MAX_BYTES
) -> Iterator[Probed]:
    engine = ProbeEngine(name, resolve(selectors), max_bytes, room(name))
    try:
        engine.open_window()
        yield Probed(engine)
    finally:
        engine.close()


# Calls getppid (110) its argument's count of times, then sleeps 3 ms twenty times.
SYSCALLER = (
    AGENT
    + """
call = ctypes.CDLL(None).syscall
say("ready"); listen()
for _ in range(count):
    call(110)
for _ in range(20):
    time.sleep(0.003)
say("done"); listen()
"""
)

# Reads `count` pages of a file or disk, all cold, through a mapping; says its major faults, all
# its faults, and how often it slept.
COLD_READER = (
    AGENT
    + """
import mmap, resource
def faults():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_majflt, usage.ru_majflt + usage.ru_minflt, usage.ru_nvcsw
fd = os.open("{place}", os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
pages = mmap.mmap(fd, count << 16, prot=mmap.PROT_READ)
pages.madvise(mmap.MADV_RANDOM)
say("ready"); listen()
before = faults()
for index in range(count):
    pages[index << 16]
after = faults()
say(" ".join(str(now - then) for now, then in zip(after, before))); listen()
"""
)

# Touches `count` pages that userfaultfd fills after 20 ms each. The constants are those of
# include/uapi/linux/userfaultfd.h for x86-64.
SLOW_FAULTER = (
    AGENT
    + """
import fcntl, mmap, struct
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(323, os.O_CLOEXEC)
fcntl.ioctl(fd, 0xC018AA3F, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
pages = mmap.mmap(-1, count << 12)
start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
fcntl.ioctl(fd, 0xC020AA00, bytearray(struct.pack("QQQQ", start, count << 12, 1, 0)))
def fill():
    rename("at-test-filler")
    for _ in range(count):
        address = struct.unpack("16xQ", os.read(fd, 32)[:24])[0] & -4096
        time.sleep(0.02)
        fcntl.ioctl(fd, 0xC020AA04, bytearray(struct.pack("QQQq", address, 4096, 0, 0)))
filler = threading.Thread(target=fill)
filler.start()
say("ready"); listen()
for index in range(count):
    libc.memset(ctypes.c_void_p(start + (index << 12)), 1, 1)
filler.join()
say("done"); listen()
"""
)

# Uncached reads of 4 KiB at {place}, until it slept for as many as its argument says: where the
# disk is fast, or others keep the CPU, reads are there before (seen: three quarters).
DISK_READER = (
    AGENT
    + """
import mmap, resource
def slept():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
fd = os.open("{place}", os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 4096)
say("ready"); listen()
enough = slept() + count
for turn in range(100 * count):
    os.preadv(fd, [buffer], turn * 37 % 256 * 4096)
    if slept() >= enough:
        say("done")
        break
else:
    say("too fast a disk")
listen()
"""
)
