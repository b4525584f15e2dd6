# SPDX-License-Identifier: GPL-2.0-only
"""Compiles with bcc, on this machine, what tests in a guest ask for: emulated it takes minutes.

compile_for.py PLACE KERNELS runs until its parent ends. Requests and answers are files of PLACE,
see compiled.py; KERNELS holds the lab's kernels, with their headers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compiled import REFUSED, SERVED, WANTED, write_programs, write_refusal

from agenttune.measure.bcc_compiler import CompileError, compile_programs

_TICK_SECONDS = 0.1


def main() -> int:
    place, kernels = Path(sys.argv[1]), Path(sys.argv[2])
    for left in (*place.glob(f"*{WANTED}"), *place.glob(f"*{REFUSED}")):
        left.unlink()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    served = place / SERVED
    served.write_text("")
    parent = os.getppid()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            while os.getppid() == parent:
                for request in place.glob(f"*{WANTED}"):
                    answer(request, kernels, Path(scratch))
                time.sleep(_TICK_SECONDS)
    finally:
        served.unlink()
    return 0


def answer(request: Path, kernels: Path, scratch: Path) -> None:
    """In a process of its own: bcc takes its headers' place from the environment, and 100 MB."""
    release = json.loads(request.read_text())["release"]
    environment = {**os.environ, "BCC_KERNEL_SOURCE": str(headers(release, kernels, scratch))}
    words = [sys.executable, __file__, "--one", str(request)]
    if subprocess.run(words, env=environment, check=False).returncode:
        # The guest tries by itself.
        write_refusal(request, "")
    request.unlink()


def headers(release: str, kernels: Path, scratch: Path) -> Path:
    """Debian's two folders as one: bcc looks for both only in those of the running kernel."""
    merged = scratch / release
    if not merged.exists():
        (found,) = kernels.glob(f"*/lib/modules/{release}")
        for part in ("source", "build"):
            folder = (found / part).resolve()
            subprocess.run(["cp", "-rsfT", folder, merged], check=True)
    return merged


def compile_one(request: Path) -> int:
    """Of a request's texts: a test's own need not be files of this machine."""
    wanted = json.loads(request.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in wanted["files"].items():
            file = Path(scratch, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        try:
            made = compile_programs(
                Path(scratch, wanted["source"]), wanted["names"], wanted["macros"]
            )
        except CompileError as error:
            write_refusal(request, error.said)
            return 0
    write_programs(request.with_suffix(""), made)
    return 0


if __name__ == "__main__":
    sys.exit(compile_one(Path(sys.argv[2])) if sys.argv[1] == "--one" else main())
