# SPDX-License-Identifier: GPL-2.0-only
"""Which of the kernel's tracepoints have a probe at all, whoever put it there.

tracefs knows only its own probes. The kernel's answer is `key.enabled` of each struct tracepoint (0
without a probe: tracepoint_add_func() in kernel/tracepoint.c), read here from /proc/kcore.
"""

from __future__ import annotations

import functools
import os
import struct
from pathlib import Path

from loading import KernelModule

# struct tracepoint begins with a pointer to its name and the struct static_key, which begins with
# the count (v6.1 to v6.12).
_ENABLED_AT = 8
_PREFIX = "__tracepoint_"


def probed_tracepoints() -> set[str]:
    """Names of the tracepoints that have a probe now."""
    symbols = _symbols()
    descriptor = os.open("/proc/kcore", os.O_RDONLY)
    try:
        segments = _segments(descriptor)
        return {
            name
            for name, address in symbols.items()
            if struct.unpack("i", _read(descriptor, segments, address + _ENABLED_AT, 4))[0] > 0
        }
    finally:
        os.close(descriptor)


def others_probes(module: KernelModule) -> set[str]:
    """As above without the module, whose own go only a while after the last agent."""
    with module.away():
        return probed_tracepoints()


@functools.cache
def _symbols() -> dict[str, int]:
    """The built-in tracepoints' addresses. A module's symbols have its name as a fourth word."""
    found = {}
    for line in Path("/proc/kallsyms").read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[2].startswith(_PREFIX):
            found[words[2].removeprefix(_PREFIX)] = int(words[0], 16)
    assert len(found) > 500
    return found


def _segments(descriptor: int) -> list[tuple[int, int, int]]:
    """Virtual address, size and file offset of each PT_LOAD (1) of the ELF64 file."""
    header = os.pread(descriptor, 64, 0)
    at, size, count = (
        struct.unpack_from("Q", header, 32)[0],
        *struct.unpack_from("HH", header, 54),
    )
    found = []
    for index in range(count):
        entry = os.pread(descriptor, 56, at + index * size)
        kind, _, offset, address, _, _, length, _ = struct.unpack("IIQQQQQQ", entry)
        if kind == 1:
            found.append((address, length, offset))
    return found


def _read(descriptor: int, segments: list[tuple[int, int, int]], address: int, size: int) -> bytes:
    for start, length, offset in segments:
        if start <= address < start + length:
            return os.pread(descriptor, size, offset + address - start)
    raise LookupError(f"/proc/kcore has no {address:#x}")
