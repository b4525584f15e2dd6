# SPDX-License-Identifier: GPL-2.0-only
"""Attaches threads to the kernel module agent_latency, which then follows their steps.

The protocol is that of kmod/uapi/agent_latency.h. Nothing here needs another part of the package,
and attach() and detach() never raise: without the module they return False and nothing happens.
"""

from __future__ import annotations

import errno
import os
import struct

DEVICE = "/dev/agent_latency"
# size, tid, slot, flags; and size, version, features, attached, reserved.
_ATTACH_WORDS, _INFO_WORDS = struct.Struct("=IiII"), struct.Struct("=IIQII")
_MAGIC = 0xA7
# The module's features by bit; names as they are shown.
FEATURES = ("prctl", "block", "socket", "napi", "guardrail")


def _request(number: int, words: struct.Struct) -> int:
    """_IOWR() of include/uapi/asm-generic/ioctl.h."""
    return 3 << 30 | words.size << 16 | _MAGIC << 8 | number


INFO = _request(0, _INFO_WORDS)
ATTACH = _request(1, _ATTACH_WORDS)
DETACH = _request(2, _ATTACH_WORDS)


class Files:
    """Open files of the device and the threads attached through each; one takes 64.

    For programs that attach others; every call raises OSError. close() detaches all.
    """

    def __init__(self, device: str = DEVICE) -> None:
        self._device = device
        self._threads: dict[int, set[int]] = {}

    def attached(self) -> set[int]:
        return {tid for threads in self._threads.values() for tid in threads}

    def attach(self, tid: int) -> None:
        """The kernel's words: EEXIST attached already, ESRCH gone, EPERM another user's, …"""
        for file, threads in self._threads.items():
            try:
                self._tell(file, ATTACH, tid)
                threads.add(tid)
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:  # no free slot in this file
                    raise
        file = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
        self._threads[file] = set()
        try:
            self._tell(file, ATTACH, tid)
        except OSError:
            del self._threads[file]
            os.close(file)
            raise
        self._threads[file].add(tid)

    def detach(self, tid: int) -> bool:
        """False when it is not attached here. A file without threads is closed."""
        for file, threads in self._threads.items():
            if tid in threads:
                threads.discard(tid)
                try:
                    self._tell(file, DETACH, tid)
                finally:
                    self._close_unused()
                return True
        return False

    def forget(self, alive: set[int]) -> None:
        """Let go of threads that ended, which the module has forgotten by itself."""
        for threads in self._threads.values():
            threads.intersection_update(alive)
        self._close_unused()

    def close(self) -> None:
        for file in self._threads:
            os.close(file)
        self._threads.clear()

    def _close_unused(self) -> None:
        for file in [file for file, threads in self._threads.items() if not threads]:
            del self._threads[file]
            os.close(file)

    @staticmethod
    def _tell(file: int, request: int, tid: int) -> None:
        import fcntl

        fcntl.ioctl(file, request, _ATTACH_WORDS.pack(_ATTACH_WORDS.size, tid, 0, 0))


def info(device: str = DEVICE) -> tuple[int, tuple[str, ...]]:
    """The version of the module's protocol and its features here. Raises OSError."""
    import fcntl

    file = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(file, INFO, _INFO_WORDS.pack(_INFO_WORDS.size, 0, 0, 0, 0))
    finally:
        os.close(file)
    _, version, bits, _, _ = _INFO_WORDS.unpack(answer)
    names = tuple(name for bit, name in enumerate(FEATURES) if bits & 1 << bit)
    return version, names


_own = Files()


def attach() -> bool:
    """Attaches the calling thread; whether it is attached now. Never raises.

    It stays so until detach(), its end, or an exec. Threads and children attach themselves.
    """
    try:
        _own.attach(_thread())
        return True
    except OSError as error:
        return error.errno == errno.EEXIST and _thread() in _own.attached()
    except Exception:
        return False


def detach() -> bool:
    """Detaches the calling thread; whether it was attached by attach(). Never raises.

    With the last attached thread of the process the device is closed, so that the module can go.
    """
    try:
        found = _own.detach(_thread())
        _own.forget({int(name) for name in os.listdir("/proc/self/task")})  # noqa: PTH208
        return found
    except Exception:
        return False


def _thread() -> int:
    import threading

    return threading.get_native_id()


def _after_fork_in_child() -> None:
    """fork() attaches nothing, but a child's copy of the files would keep the module in use."""
    _own.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
