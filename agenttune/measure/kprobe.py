# SPDX-License-Identifier: GPL-2.0-only
"""Attaching a loaded program to a kernel function."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path

_PMU_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")
_PERF_EVENT_OPEN = 298  # x86-64, arch/x86/entry/syscalls/syscall_64.tbl
_FLAG_CLOSE_ON_EXEC = 8
# include/uapi/linux/perf_event.h: PERF_EVENT_IOC_SET_BPF, PERF_EVENT_IOC_ENABLE.
_SET_BPF, _ENABLE = 0x40042408, 0x2400


def attach_kprobe(function: str, program: int) -> int:
    """Returns a descriptor that detaches when it is closed.

    `program` is a loaded kprobe program's descriptor. Raises OSError: the kernel has no kprobes,
    or no such function to probe.
    """
    name = ctypes.create_string_buffer(function.encode())
    # struct perf_event_attr: type, size, config, and at 56 the function's name (kprobe_func).
    attributes = struct.pack(
        "=IIQ40xQ48x", int(_PMU_TYPE.read_text()), 112, 0, ctypes.addressof(name)
    )
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_char_p(attributes), -1, 0, -1, ctypes.c_ulong(_FLAG_CLOSE_ON_EXEC))
    event: int = libc.syscall(_PERF_EVENT_OPEN, *arguments)
    if event < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), function)
    try:
        fcntl.ioctl(event, _SET_BPF, program)
        fcntl.ioctl(event, _ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return event
