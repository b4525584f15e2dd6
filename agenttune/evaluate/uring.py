# SPDX-License-Identifier: GPL-2.0-only
"""A small io_uring: one receive at a time, with the step's id in user_data.

By ctypes, because the bindings on PyPI need a compiler on the host. Numbers and structures are of
include/uapi/linux/io_uring.h, v6.12. On x86 plain loads and stores of the rings are ordered enough
for one thread whose system call submits and reaps.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from types import TracebackType

from agenttune.errors import HostError

_SETUP, _ENTER = 425, 426
_OP_RECV = 27
_ENTER_GETEVENTS = 1
_FEAT_SINGLE_MMAP = 1
_OFF_RINGS, _OFF_SQES = 0, 0x10000000
_SQE_BYTES, _CQE_BYTES = 64, 16
_BUFFER_BYTES = 1 << 16
_U32 = struct.Struct("=I")
_SQE = struct.Struct("=BBHiQQIIQ")
_CQE = struct.Struct("=QiI")


class _Params(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("sq_entries", "cq_entries", "flags")),
        ("thread", ctypes.c_uint32 * 2),
        ("features", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
        ("sq_off", ctypes.c_uint32 * 10),
        ("cq_off", ctypes.c_uint32 * 10),
    )


class Uring:
    """Raises HostError where the kernel has no io_uring, or forbids it."""

    def __init__(self, entries: int) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        params = _Params()
        self._fd = self._syscall(_SETUP, entries, ctypes.byref(params))
        if self._fd < 0:
            code = ctypes.get_errno()
            raise HostError(
                f"io_uring is not available here: {os.strerror(code)}",
                hint="See /proc/sys/kernel/io_uring_disabled, or take --mix tools.",
            )
        if not params.features & _FEAT_SINGLE_MMAP:
            os.close(self._fd)
            raise HostError("this kernel's io_uring is older than 5.4; take --mix tools")
        # sq_off: head, tail, ring_mask, entries, flags, dropped, array; cq_off: head, tail,
        # ring_mask, entries, overflow, cqes.
        self._sq, self._cq = tuple(params.sq_off), tuple(params.cq_off)
        size = max(
            self._sq[6] + params.sq_entries * _U32.size,
            self._cq[5] + params.cq_entries * _CQE_BYTES,
        )
        self._rings = mmap.mmap(self._fd, size, flags=mmap.MAP_SHARED, offset=_OFF_RINGS)
        length = params.sq_entries * _SQE_BYTES
        self._sqes = mmap.mmap(self._fd, length, flags=mmap.MAP_SHARED, offset=_OFF_SQES)
        self._buffer = ctypes.create_string_buffer(_BUFFER_BYTES)

    def __enter__(self) -> Uring:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sqes.close()
        self._rings.close()
        os.close(self._fd)

    def receive(self, fd: int, room: int, user_data: int) -> bytes:
        """Submit one receive on a blocking socket and wait for it. Raises OSError as recv does."""
        tail = self._number(self._sq[1])
        place = tail & self._number(self._sq[2])
        address = ctypes.addressof(self._buffer)
        sqe = _SQE.pack(
            _OP_RECV, 0, 0, fd, 0, address, min(room, _BUFFER_BYTES), 0, user_data
        ).ljust(_SQE_BYTES, b"\0")
        self._sqes[place * _SQE_BYTES : (place + 1) * _SQE_BYTES] = sqe
        _U32.pack_into(self._rings, self._sq[6] + place * _U32.size, place)
        _U32.pack_into(self._rings, self._sq[1], (tail + 1) & 0xFFFFFFFF)
        self._enter(1)
        while (head := self._number(self._cq[0])) == self._number(self._cq[1]):
            self._enter(0)
        at = self._cq[5] + (head & self._number(self._cq[2])) * _CQE_BYTES
        seen, result, _flags = _CQE.unpack_from(self._rings, at)
        _U32.pack_into(self._rings, self._cq[0], (head + 1) & 0xFFFFFFFF)
        assert seen == user_data, "a completion of another step"
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return self._buffer.raw[:result]

    def _enter(self, submit: int) -> None:
        if self._syscall(_ENTER, self._fd, submit, 1, _ENTER_GETEVENTS, None, 0) < 0:
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))

    def _number(self, offset: int) -> int:
        return int(_U32.unpack_from(self._rings, offset)[0])
