# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module of this checkout, in this guest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.lab.cache import Cache, cache_root
from vm.lab.module import NAME, built_module

_STATE = Path("/sys/module") / NAME


@dataclass(frozen=True)
class KernelModule:
    """The built module. Each test finds it loaded with its defaults, and leaves it so."""

    path: Path

    @property
    def loaded(self) -> bool:
        """Whether the kernel has it. Unloading removes this as its last step but one."""
        return _STATE.exists()

    @property
    def users(self) -> int:
        """How many references keep it from being unloaded."""
        return int((_STATE / "refcnt").read_text())

    def load(self, **parameters: object) -> None:
        """Loads it. Raises CalledProcessError, with the kernel's reason in `stderr`."""
        words = [f"{name}={value}" for name, value in parameters.items()]
        _run("insmod", str(self.path), *words)

    def unload(self) -> None:
        """Unloads it. Raises CalledProcessError while it is in use."""
        _run("rmmod", NAME)

    @contextmanager
    def loaded_with(self, **parameters: object) -> Iterator[None]:
        """Loaded with other parameters than the defaults meanwhile."""
        with self.away():
            self.load(**parameters)
            try:
                yield
            finally:
                self.unload()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Not loaded meanwhile."""
        if self.loaded:
            self.unload()
        try:
            yield
        finally:
            if not self.loaded:
                self.load()


def module_of(kernel: str) -> KernelModule:
    """As `vm/build-module` made it for the guest's `kernel`. Raises LabError without it."""
    return KernelModule(built_module(Cache(cache_root()), kernel))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        error.add_note(done.stderr.strip())
        raise error
