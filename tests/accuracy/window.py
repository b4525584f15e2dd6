# SPDX-License-Identifier: GPL-2.0-only
"""Window: `agenttune steps` as a user runs it, around what happens meanwhile."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agenttune.measure.record_file import read_trace
from agenttune.measure.trace import Trace

ROOT = Path(__file__).resolve().parents[2]
# Loading, attaching and writing the file, on an emulated machine too.
PATIENCE_S = 120
# A window is ended by SIGINT, as soon as what it is for is over.
LONGEST_S = 1200


class Window:
    """`trace()` and `report` once the window is over."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.report = ""

    def trace(self) -> Trace:
        return read_trace(self._file)


@contextlib.contextmanager
def window(folder: Path, selector: str, engine: str = "auto") -> Iterator[Window]:
    """Follows steps until it is left. Raises AssertionError when agenttune fails."""
    found = Window(folder / "trace")
    command = [sys.executable, "-m", "agenttune", "steps", "--agent", selector]
    command += ["--engine", engine, "--seconds", str(LONGEST_S), "--save", str(folder / "trace")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        _await_hooks(process)
        yield found
        process.send_signal(signal.SIGINT)
        found.report, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, errors


def _await_hooks(process: subprocess.Popen[str]) -> None:
    """Attached programs show as open links; the window opens right after the last one."""
    deadline = time.monotonic() + PATIENCE_S
    links, since = 0, time.monotonic()
    while not links or time.monotonic() - since < 1:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "agenttune steps attaches nothing"
        if (now := _links(process.pid)) != links:
            links, since = now, time.monotonic()
        time.sleep(0.05)


def _links(pid: int) -> int:
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += "bpf" in str(path.readlink()) and "link" in str(path.readlink())
    return count
