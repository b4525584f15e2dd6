# SPDX-License-Identifier: GPL-2.0-only
"""What vm/setup --lab left for the lab."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.lab.errors import SetupMissing
from vm.lab.kernels import setup_command


@dataclass(frozen=True)
class Cache:
    """The cache directory, by the names of what is in it."""

    root: Path

    @property
    def qemu(self) -> Path:
        """The program that starts the guests."""
        return self.root / "qemu/qemu"

    @property
    def runs(self) -> Path:
        """Holds the files of the guest that runs now."""
        return self.root / "run"

    def kernel(self, name: str) -> Path:
        """The directory of kernel `name`, such as 6.12."""
        return self.root / "kernels" / name

    def image(self, name: str) -> Path:
        """The file to boot kernel `name` from."""
        directory = self.kernel(name)
        return directory / f"boot/vmlinuz-{(directory / 'release').read_text().strip()}"

    def initramfs(self, name: str) -> Path:
        """The initramfs that goes with kernel `name`."""
        return self.kernel(name) / "initramfs"


def cache_root() -> Path:
    """Where the cache is, there or not."""
    return Path(os.environ.get("AGENTTUNE_CACHE", "/var/cache/agenttune"))


def find_cache(kernel: str) -> Cache:
    """The cache, with all that kernel `kernel` needs. Raises SetupMissing."""
    cache = Cache(cache_root())
    if not cache.qemu.exists():
        raise SetupMissing(f"{cache.qemu} is missing: run 'vm/setup --lab' first")
    for path in (cache.kernel(kernel) / "release", cache.initramfs(kernel)):
        if not path.exists():
            raise SetupMissing(f"{path} is missing: run '{setup_command(kernel)}' first")
    return cache


def qemu_version(cache: Cache) -> tuple[int, int]:
    """Major and minor version of the cache's QEMU. Raises SetupMissing."""
    try:
        shown = subprocess.run(
            [cache.qemu, "--version"], capture_output=True, text=True, check=True
        ).stdout
        major, minor = shown.split("version ", 1)[1].split(".")[:2]
        return int(major), int(minor)
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError) as error:
        raise SetupMissing(f"{cache.qemu} does not tell its version: {error}") from error


@contextmanager
def one_guest_at_a_time(cache: Cache) -> Iterator[None]:
    """Holds the lab's lock; waits for it, saying so. Two guests at once would slow each other."""
    with (cache.root / "vm.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("vm/run: waiting for another guest to finish", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
