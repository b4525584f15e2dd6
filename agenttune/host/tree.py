# SPDX-License-Identifier: GPL-2.0-only
"""Tree: a host's files below a live or a recorded root."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agenttune.host.cpumask import CpuMask

# What a file that came or went, or a feature the kernel lacks, says. All of it is normal.
_ABSENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ESRCH,
        errno.ENODEV,
        errno.ENXIO,
        errno.EOPNOTSUPP,
    }
)
# O_NONBLOCK: a recording may hold a FIFO.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
# Attributes of sysfs are at most one page; /proc's seq files grow their buffer to one record.
_CHUNK = 1 << 16
# /proc/interrupts of 1024 CPUs and 8192 vectors has 93 MB.
_MAX_FILE = 1 << 30


class Tree:
    """Reads a host's files and keeps a list of what could not be read.

    Paths are absolute as on the host ('/proc/stat'). An absent file is None, never an error; any
    other failure is None too, but `unknown()` tells of it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.live = root.resolve() == Path("/")
        self._prefix = "" if self.live else str(root)
        self._notes: dict[str, None] = {}
        self._failures: Counter[tuple[str, str]] = Counter()

    def path(self, path: str) -> str:
        """Where the host's `path` is on this machine."""
        return self._prefix + path

    def read(self, path: str) -> str | None:
        """A small file's text without the white space around it."""
        try:
            fd = os.open(self._prefix + path, _FLAGS)
            try:
                # Linux 3.10 prints an empty nohz_full as one NUL.
                return os.read(fd, _CHUNK).decode("utf-8", "replace").strip(" \t\r\n\0")
            finally:
                os.close(fd)
        except OSError as error:
            self._fail(path, error)
            return None

    def owner_may_write(self, path: str) -> bool | None:
        """What the mode bits say: root may open any file for writing."""
        try:
            return bool(Path(self._prefix + path).stat().st_mode & stat.S_IWUSR)
        except OSError as error:
            self._fail(path, error)
            return None

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a file of any size, read as they are asked for; none when it is absent."""
        try:
            with os.fdopen(os.open(self._prefix + path, _FLAGS), "rb", 1 << 20) as file:
                left = _MAX_FILE
                while left > 0 and (line := file.readline(left)):
                    left -= len(line)
                    yield line
        except OSError as error:
            self._fail(path, error)

    def number(self, path: str) -> int | None:
        """A file that holds one decimal number."""
        text = self.read(path) or ""
        return int(text) if is_decimal(text.removeprefix("-")) else None

    def mask_list(self, path: str) -> CpuMask | None:
        """A file in the kernel's list form; '(null)' is how a mask never set reads."""
        text = self.read(path)
        if text is None:
            return None
        try:
            return CpuMask.parse_list("" if text == "(null)" else text)
        except ValueError as error:
            self.note(_pattern(path), str(error))
            return None

    def mask_hex(self, path: str) -> CpuMask | None:
        """A file in the kernel's mask form."""
        text = self.read(path)
        if not text:
            return None
        try:
            return CpuMask.parse_hex(text)
        except ValueError as error:
            self.note(_pattern(path), str(error))
            return None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none when it is absent."""
        try:
            with os.scandir(self._prefix + folder) as entries:
                return sorted(entry.name for entry in entries)
        except OSError as error:
            self._fail(folder, error)
            return []

    def numbers(self, folder: str, prefix: str = "") -> list[int]:
        """The numbers N of a folder's names 'prefixN', ascending."""
        tails = (n[len(prefix) :] for n in self.names(folder) if n.startswith(prefix))
        return sorted(int(tail) for tail in tails if is_decimal(tail))

    def link(self, path: str) -> str | None:
        """A symbolic link's text, None when there is no such link."""
        try:
            return str(Path(self._prefix + path).readlink())
        except OSError as error:
            if error.errno != errno.EINVAL:
                self._fail(path, error)
            return None

    def exists(self, path: str) -> bool:
        return os.path.lexists(self._prefix + path)

    def note(self, what: str, why: str) -> None:
        """Add `what` to the unknown, once."""
        self._notes[f"{what}: {why}"] = None

    def unknown(self) -> tuple[str, ...]:
        """What could not be read, and why, in the order it was met."""
        failures = (
            f"{pattern}: {why}" + (f" ({count} files)" if count > 1 else "")
            for (pattern, why), count in self._failures.items()
        )
        return (*self._notes, *failures)

    def _fail(self, path: str, error: OSError) -> None:
        if error.errno not in _ABSENT:
            self._failures[_pattern(path), error.strerror or str(error)] += 1


def is_decimal(text: str) -> bool:
    """Digits that fit 64 bits; int() takes other scripts' digits, and refuses over 4300 of them."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _pattern(path: str) -> str:
    """`path` with N for each number, so that a thousand alike make one line."""
    return re.sub(r"\d+", "N", path)
