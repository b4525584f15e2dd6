# SPDX-License-Identifier: GPL-2.0-only
"""A BPF ring buffer, read through its mapping: no system call and no wakeup per record."""

from __future__ import annotations

import mmap
import struct

# include/uapi/linux/bpf.h.
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8
_LENGTH = struct.Struct("=I")
_POSITION = struct.Struct("=Q")


class Ring:
    """`size` is the map's max_entries: a power of two, and of whole pages."""

    def __init__(self, fd: int, size: int) -> None:
        """Raises OSError when the kernel refuses the mapping."""
        page = mmap.PAGESIZE
        self._mask = size - 1
        # bpf_ringbuf_alloc() (kernel/bpf/ringbuf.c, v6.12): the consumer's page, the producer's,
        # and the data mapped twice in a row, so that no record is cut at the end.
        self._consumer = mmap.mmap(fd, page)
        self._data = mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        self._page = page
        self._position = _POSITION.unpack_from(self._consumer)[0]

    def take(self) -> list[bytes]:
        """Every record that is complete, oldest first; their room is free again."""
        data, mask, page = self._data, self._mask, self._page
        position, end = self._position, _POSITION.unpack_from(data)[0]
        records = []
        while position < end:
            at = page + (position & mask)
            length = _LENGTH.unpack_from(data, at)[0]
            if length & _BUSY:
                break
            size = length & ~_DISCARD
            if size == length:
                records.append(data[at + _HEADER : at + _HEADER + size])
            position += (size + _HEADER + 7) & ~7
        if position != self._position:
            self._position = position
            _POSITION.pack_into(self._consumer, 0, position)
        return records

    def close(self) -> None:
        self._consumer.close()
        self._data.close()
