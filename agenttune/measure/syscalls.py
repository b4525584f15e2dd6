# SPDX-License-Identifier: GPL-2.0-only
"""System calls that threads block in: their names by number, and what they wait on."""

from __future__ import annotations

from agenttune.measure.trace import ObjectKind

# arch/x86/entry/syscalls/syscall_64.tbl, v6.12.
_X86_64 = {
    0: "read",
    1: "write",
    7: "poll",
    17: "pread64",
    18: "pwrite64",
    19: "readv",
    20: "writev",
    23: "select",
    24: "sched_yield",
    35: "nanosleep",
    42: "connect",
    43: "accept",
    44: "sendto",
    45: "recvfrom",
    46: "sendmsg",
    47: "recvmsg",
    61: "wait4",
    73: "flock",
    74: "fsync",
    75: "fdatasync",
    202: "futex",
    230: "clock_nanosleep",
    232: "epoll_wait",
    247: "waitid",
    257: "openat",
    270: "pselect6",
    271: "ppoll",
    281: "epoll_pwait",
    288: "accept4",
    295: "preadv",
    299: "recvmmsg",
    327: "preadv2",
}

# include/uapi/asm-generic/unistd.h, v6.10 (scripts/syscall.tbl since v6.11).
_AARCH64 = {
    22: "epoll_pwait",
    32: "flock",
    56: "openat",
    63: "read",
    64: "write",
    65: "readv",
    66: "writev",
    67: "pread64",
    68: "pwrite64",
    69: "preadv",
    72: "pselect6",
    73: "ppoll",
    82: "fsync",
    83: "fdatasync",
    95: "waitid",
    98: "futex",
    101: "nanosleep",
    115: "clock_nanosleep",
    124: "sched_yield",
    202: "accept",
    203: "connect",
    206: "sendto",
    207: "recvfrom",
    211: "sendmsg",
    212: "recvmsg",
    242: "accept4",
    243: "recvmmsg",
    260: "wait4",
    286: "preadv2",
}

# Numbers that every architecture shares.
_COMMON = {426: "io_uring_enter", 441: "epoll_pwait2", 449: "futex_waitv", 455: "futex_wait"}

_TABLES = {"x86_64": _X86_64 | _COMMON, "aarch64": _AARCH64 | _COMMON}

_OBJECTS = {
    ObjectKind.CHILD: ("wait4", "waitid"),
    ObjectKind.FILE: ("fsync", "fdatasync", "flock", "openat"),
    ObjectKind.FUTEX: ("futex", "futex_wait", "futex_waitv"),
    ObjectKind.POLL: (
        "epoll_pwait",
        "epoll_pwait2",
        "epoll_wait",
        "poll",
        "ppoll",
        "pselect6",
        "select",
    ),
    ObjectKind.SOCKET: (
        "accept",
        "accept4",
        "connect",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "sendmsg",
        "sendto",
    ),
    ObjectKind.TIMER: ("clock_nanosleep", "nanosleep"),
    ObjectKind.URING: ("io_uring_enter",),
}
_OBJECT_OF = {name: kind for kind, names in _OBJECTS.items() for name in names}


def syscall_name(number: int | None, machine: str | None) -> str | None:
    """The name of a blocking system call; None for others, and on machines not known here."""
    if number is None or machine is None:
        return None
    return _TABLES.get(machine, {}).get(number)


def object_of(number: int | None, machine: str | None) -> ObjectKind:
    """What a thread in this system call waits on, as far as the call alone tells."""
    return _OBJECT_OF.get(syscall_name(number, machine) or "", ObjectKind.NONE)
