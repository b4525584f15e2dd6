# SPDX-License-Identifier: GPL-2.0-only
"""A short run of the fuzzer, as root and as nobody. The kernel's log is looked at by conftest.py.

Longer, by hand, in a guest: fuzz --seconds 600 [--nobody] [--seed N].
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from actors import attached, eventually
from client import SYSCTLS
from debug_kernel import paced
from loading import KernelModule
from tracepoints import others_probes, probed_tracepoints

pytestmark = [pytest.mark.guest, pytest.mark.kmod]

SOURCES = Path(__file__).parent / "fuzz"
SECONDS = 14
# What a run of any seed must have got done, or the fuzzer only knocked at the door.
DONE = (
    *("opened", "attached", "detached", "refused", "informed", "mapped", "map_refused", "stored"),
    *("marked", "passed", "received", "forked", "execed", "threads", "killed", "transferred"),
)


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("fuzz") / "fuzz"
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", program, *sorted(SOURCES.glob("*.c"))], check=True)
    return program


@contextmanager
def settings_put_back() -> Iterator[None]:
    """Root's part of the fuzzer changes them."""
    before = {path: path.read_text() for path in SYSCTLS.iterdir()}
    yield
    for path, text in before.items():
        path.write_text(text)


@pytest.mark.thorough
@pytest.mark.parametrize("who", ["root", "nobody"])
def test_fuzz(module: KernelModule, fuzzer: Path, who: str) -> None:
    before = others_probes(module)
    seconds = int(paced(SECONDS))
    arguments = ["--seconds", str(seconds), *(["--nobody"] if who == "nobody" else [])]
    with settings_put_back():
        done = subprocess.run(
            [fuzzer, *arguments], capture_output=True, text=True, timeout=5 * seconds, check=False
        )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    counts = {name: int(number) for name, number in map(str.split, done.stdout.splitlines())}
    assert [name for name in DONE if not counts[name]] == []
    eventually(lambda: attached() == 0 and module.users == 0)
    time.sleep(1.0)
    assert probed_tracepoints() ^ before == set()
    with module.away():
        assert probed_tracepoints() ^ before == set()
