# SPDX-License-Identifier: GPL-2.0-only
"""Kernel: the one place where effects on the host happen."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from agenttune.change import loader
from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.host.tree import Tree

# The largest attribute read here is a CPU list: 4096 numbers of 4 digits for NR_CPUS=8192.
_READ_BYTES = 32 << 10
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
# O_TRUNC is what a shell's '>' adds: kernfs and procfs ignore it, a recorded tree needs it.
_WRITE_FLAGS = os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_SOCKET_TIMEOUT_S = 5.0
# Far longer than a vector's move takes, emulated CPUs included.
_LOOK_AGAIN_S = 0.02


class Kernel:
    """The files, tasks and clock of the host below `root`; tests subclass it to inject faults.

    Paths are absolute as on the host ('/proc/irq'). OSError passes through with the kernel's errno.
    `tree` is for looks that need no errno. `irq_hints` belongs to knobs/vector.py: where it found
    a vector, with the identity() of that interrupt.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.irq_hints: dict[str, tuple[int, int]] = {}
        self.tree = Tree(root)
        self.live = self.tree.live
        self.look_again_s = _LOOK_AGAIN_S if self.live else 0.0

    def require_privilege(self) -> None:
        """Raises HostError unless this process may change the live host."""
        if self.live and os.geteuid() != 0:
            raise HostError(
                f"changing this host needs root; this process runs as uid {os.geteuid()}",
                hint="Run the same command with sudo.",
            )

    def read(self, path: str) -> str:
        """The whole attribute in one read."""
        file = os.open(self.tree.path(path), _READ_FLAGS)
        try:
            return os.read(file, _READ_BYTES).decode()
        finally:
            os.close(file)

    def write_once(self, path: str, text: str) -> str:
        """Exactly one write(), then what the attribute shows.

        A short write raises EIO: its remainder would be a second value.
        """
        data = text.encode()
        file = os.open(self.tree.path(path), _WRITE_FLAGS)
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.EIO, "short write", path)
            return os.pread(file, _READ_BYTES, 0).decode()
        finally:
            os.close(file)

    def identity(self, path: str) -> int | None:
        """A number that a sysfs entry made again under the same name does not have.

        kernfs counts its nodes up and does not reuse a number (__kernfs_new_node, fs/kernfs/dir.c,
        v6.12). None when there is no such entry.
        """
        try:
            return os.stat(self.tree.path(path), follow_symlinks=False).st_ino  # noqa: PTH116
        except OSError:
            return None

    def load_module(self, path: str) -> None:
        loader.load(Path(self.tree.path(path)))

    def unload_module(self, name: str) -> None:
        loader.unload(name)

    def boot_id(self) -> str:
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    def task_affinity(self, pid: int) -> CpuMask:
        """Raises ProcessLookupError when the task is gone."""
        return CpuMask.of(os.sched_getaffinity(pid))

    def set_task_affinity(self, pid: int, mask: CpuMask) -> None:
        os.sched_setaffinity(pid, set(mask))

    def now_ns(self) -> int:
        """CLOCK_BOOTTIME: it goes on while the machine sleeps, and task start times use it."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ticks(self) -> int:
        """The clock of /proc/PID/stat's start times (fs/proc/array.c, v6.12), in ticks."""
        return self.now_ns() * os.sysconf("SC_CLK_TCK") // 10**9

    def ask(self, socket_path: str, command: str) -> str:
        """Send one command with our credentials to a daemon's socket; its reply until it closes."""
        credentials = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
        ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(_SOCKET_TIMEOUT_S)
            stream.connect(self.tree.path(socket_path))
            stream.sendmsg([command.encode()], ancillary)
            reply = b""
            # A daemon that reads only part of a command resets the connection when it closes.
            with suppress(ConnectionResetError):
                while chunk := stream.recv(_READ_BYTES):
                    reply += chunk
        return reply.decode()
