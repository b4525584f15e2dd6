# SPDX-License-Identifier: GPL-2.0-only
"""The state directory: opened so that nobody else can steer what is written there."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agenttune.errors import AgenttuneError, HostError, JournalError, LockHeld

LOCK_FILE = "lock"
_POLL_S = 0.05
_FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the checked directory, made with mode 0700 if missing.

    Raises JournalError for a symbolic link, another owner, or one that others may write to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        directory = os.open(path, flags)
    except OSError as error:
        raise _cannot_open(path, error) from error
    try:
        _check_owner(path, os.fstat(directory))
        yield directory
    finally:
        os.close(directory)


def exists(path: Path) -> bool:
    """Raises HostError where this user may not even look."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _cannot_open(path, error) from error
    return True


def check_file(directory: int, path: Path) -> os.stat_result | None:
    """The status of `path`, a file in `directory`; None when missing. Raises JournalError."""
    try:
        file = _open_checked(directory, path, _FILE_FLAGS)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(file)
    finally:
        os.close(file)


@contextmanager
def locked(directory: int, path: Path, timeout_s: float | None) -> Iterator[None]:
    """Hold the lock of the state directory `path`; None waits for ever.

    Raises LockHeld naming the holder. The kernel drops the lock when its holder dies.
    """
    file = _open_checked(directory, path / LOCK_FILE, _FILE_FLAGS | os.O_CREAT)
    try:
        if not _take(file, timeout_s):
            raise LockHeld(
                f"{path}: {holder(directory)} holds the lock",
                hint="Wait for it or end it, then try again; 'agenttune status' needs no lock.",
            )
        _sign(file, path)
        yield
    finally:
        os.close(file)


def holder(directory: int) -> str:
    """Who took the lock last, 'process 12 (agenttune apply x)', with its state if it is stopped."""
    try:
        file = os.open(LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return "another process"
    with os.fdopen(file, errors="replace") as text:
        pid, _, command = text.read(4096).strip().partition(" ")
    if not pid.isdecimal():
        return "another process"
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "another process"
    stopped = ", which is stopped" if state in "Tt" else ""
    return f"process {pid} ({command}){stopped}"


def _take(file: int, timeout_s: float | None) -> bool:
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(_POLL_S)


def _sign(file: int, path: Path) -> None:
    """Leave our name for those who wait."""
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()} {_own_command()}\n".encode(), 0)
    except OSError as error:
        raise JournalError(
            f"{path / LOCK_FILE}: cannot write: {error.strerror}",
            hint="Check free space and the disk; no knob is written without the journal.",
        ) from error


def _own_command() -> str:
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
    return shlex.join(argument.decode(errors="replace") for argument in arguments)[:1000]


def _open_checked(directory: int, path: Path, flags: int) -> int:
    """FileNotFoundError passes through; anything unsafe raises JournalError."""
    try:
        file = os.open(path.name, flags, 0o600, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _cannot_open(path, error) from error
    try:
        _check_regular(path, os.fstat(file))
    except JournalError:
        os.close(file)
        raise
    return file


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _unsafe(path, "is not a regular file")
    if found.st_nlink != 1:
        raise _unsafe(path, f"has {found.st_nlink} names (hard links)")
    _check_owner(path, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise _unsafe(path, f"belongs to uid {found.st_uid}, not to uid {os.geteuid()}")
    if found.st_mode & 0o022:
        raise _unsafe(path, f"may be written by others (mode {stat.S_IMODE(found.st_mode):04o})")


def _cannot_open(path: Path, error: OSError) -> AgenttuneError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return _unsafe(path, "is a symbolic link or has the wrong type")
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return HostError(
            f"{path}: {error.strerror}: the journal is for root alone",
            hint="Run the same command with sudo.",
        )
    return JournalError(
        f"{path}: cannot be opened: {error.strerror}",
        hint="Check the disk, or give another directory with --state-dir.",
    )


def _unsafe(path: Path, why: str) -> JournalError:
    return JournalError(
        f"{path} {why}",
        hint="agenttune keeps its journal only in a directory that root alone can write; "
        "move this one away, or give another with --state-dir.",
    )
