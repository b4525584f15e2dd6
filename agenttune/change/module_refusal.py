# SPDX-License-Identifier: GPL-2.0-only
"""Why the kernel does not take the module, or does not let it go, and what helps."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from agenttune.change.kernel import Kernel
from agenttune.change.processes import holders
from agenttune.errors import HostError
from agenttune.host.module import (
    DEVICE,
    HOW_TO_SIGN,
    MODULE,
    SYSFS,
    headers_remedy,
    module_info,
    unsigned_refusal,
)

_BUILD_AGAIN = "Run 'agenttune module build' for this kernel, then load again."
HOW_TO_REMOVE = f"It is theirs to unload, with 'rmmod {MODULE}'."
# mod_verify_sig() and module_sig_check(), kernel/module/signing.c, v6.12.
_SIGNATURE = frozenset({errno.ENOKEY, errno.EKEYREJECTED, errno.EBADMSG, errno.ENOPKG})


def not_built(kernel: Kernel, release: str) -> HostError:
    headers = kernel.tree.exists(f"/lib/modules/{release}/build/Makefile")
    first = "" if headers else f"{headers_remedy(kernel.tree, release)} "
    return HostError(
        f"{MODULE} is not built for kernel {release}",
        hint=f"{first}Run 'agenttune module build', then load again.",
    )


def check(kernel: Kernel, file: str, release: str) -> None:
    """Refuse before the kernel does what is known to fail. Raises HostError."""
    found = module_info(kernel.tree, file)
    if found is None:
        raise HostError(f"{file} is not a kernel module, or damaged", hint=_BUILD_AGAIN)
    if found.release != release:
        raise HostError(
            f"{file} is for kernel {found.release} (vermagic), this is {release}",
            hint=_BUILD_AGAIN,
        )


def load_refused(
    kernel: Kernel, file: str, release: str, error: OSError, said: str = ""
) -> HostError:
    """What finit_module()'s errno means here; `said` is the kernel's own word."""
    code = error.errno or 0
    found = module_info(kernel.tree, file)
    if code in _SIGNATURE or (code == errno.EPERM and unsigned_refusal(kernel.tree)):
        why = unsigned_refusal(kernel.tree) or "the kernel checks signatures"
        signed = "its key is not known here" if found and found.signed else "it is not signed"
        return _refusal(file, f"{why}, and {signed}", code, HOW_TO_SIGN, said)
    if code == errno.EPERM:
        if kernel.tree.read("/proc/sys/kernel/modules_disabled") == "1":
            why = "loading modules is switched off until the next boot (kernel.modules_disabled)"
            return _refusal(file, why, code, "Boot again without that setting.", said)
        hint = "Run as root with CAP_SYS_MODULE, outside containers."
        return _refusal(file, "this process may not load modules", code, hint, said)
    reasons = {
        errno.EEXIST: ("it was loaded by someone else meanwhile", HOW_TO_REMOVE),
        errno.ENOEXEC: (f"it does not fit this build of kernel {release}", _BUILD_AGAIN),
        errno.ENOENT: (f"kernel {release} lacks a symbol that it needs", _BUILD_AGAIN),
        errno.EINVAL: ("it does not fit this kernel, or refused a parameter", _BUILD_AGAIN),
        errno.ENODEV: ("this kernel lacks what it needs", "See the kernel's log: dmesg."),
        errno.ENOMEM: ("there is not enough memory", "Free some, and try again."),
    }
    why, hint = reasons.get(code, ("its start failed", "See the kernel's log: dmesg."))
    return _refusal(file, why, code, hint, said)


def unload_refused(kernel: Kernel, error: OSError) -> HostError:
    """What delete_module()'s errno means here."""
    code = error.errno or 0
    # One number, two names on Linux.
    name = "EWOULDBLOCK" if code == errno.EWOULDBLOCK else errno.errorcode.get(code, str(code))
    if code not in (errno.EWOULDBLOCK, errno.EBUSY):
        return HostError(
            f"{MODULE} could not be unloaded: {error.strerror} ({name})",
            hint="See the kernel's log: dmesg.",
        )
    count = kernel.tree.read(f"{SYSFS}/refcnt") or "?"
    users = [f"module {other}" for other in kernel.tree.names(f"{SYSFS}/holders")]
    users += [f"{who} has {DEVICE} open" for who in holders(kernel, DEVICE)]
    known = "; ".join(users) or "no process shows it open: a tracer may hold its events"
    return HostError(
        f"{MODULE} is in use ({name}, reference count {count}): {known}",
        hint="End what uses it, then run 'agenttune revert' again.",
    )


def _refusal(file: str, why: str, code: int, hint: str, said: str) -> HostError:
    name = errno.errorcode.get(code, str(code))
    return HostError(f"{file} is not loaded: {why} ({name}){said}", hint=hint)


@contextmanager
def listening(kernel: Kernel) -> Iterator[Callable[[], str]]:
    """A question: the last line about the module in the kernel's log since now; may be empty."""
    try:
        log = os.open(kernel.tree.path("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield lambda: ""
        return
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield lambda: _last_line(log)
    finally:
        os.close(log)


def _last_line(log: int) -> str:
    last = ""
    with suppress(OSError):  # EAGAIN at the end
        while record := os.read(log, 8192).decode(errors="replace"):
            text = record.partition(";")[2].partition("\n")[0]
            last = text if MODULE in text else last
    return f"\n  the kernel said: {last}" if last else ""
