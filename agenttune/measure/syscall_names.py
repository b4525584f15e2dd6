# SPDX-License-Identifier: GPL-2.0-only
"""System call names by number, as libseccomp knows them."""

from __future__ import annotations

import ctypes
from functools import cache

# include/uapi/linux/audit.h: AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386, which libseccomp takes.
_X86_64 = 0xC000003E
_I386 = 0x40000003


def syscall_name(number: int, *, compat: bool = False) -> str:
    """'read'; 'syscall 999' for a number that the installed libseccomp does not know.

    `compat` is a 32-bit call: 'read (32-bit)'.
    """
    name = _resolve(number, compat) or f"syscall {number}"
    return f"{name} (32-bit)" if compat else name


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    library.seccomp_syscall_resolve_num_arch.argtypes = (ctypes.c_uint32, ctypes.c_int)
    return library


@cache
def _resolve(number: int, compat: bool) -> str | None:
    library = _library()
    if library is None:
        return None
    pointer = library.seccomp_syscall_resolve_num_arch(_I386 if compat else _X86_64, number)
    if not pointer:
        return None
    name = ctypes.string_at(pointer).decode()
    free = ctypes.CDLL(None).free
    free.argtypes = (ctypes.c_void_p,)
    free(pointer)
    return name
