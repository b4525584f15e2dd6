# SPDX-License-Identifier: GPL-2.0-only
"""bcc as a compiler: BPF source in, instructions out."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agenttune.errors import HostError

HEADERS_HINT = (
    "Install the headers of the running kernel; on Debian: apt install linux-headers-$(uname -r)."
)


def import_bcc() -> Any:
    """Raises HostError when bcc or the kernel's headers are missing."""
    try:
        bcc = importlib.import_module("bcc")
    except (ImportError, OSError) as error:
        raise HostError(
            "the bcc engine needs bcc's Python bindings, which cannot be imported",
            hint="On Debian: apt install python3-bpfcc.",
        ) from error
    if not headers_found():
        raise HostError(
            f"the bcc engine compiles on this host, and the headers of {os.uname().release} "
            "are missing",
            hint=HEADERS_HINT,
        )
    return bcc


def headers_found() -> bool:
    """Whether bcc will find headers (KBuildHelper and get_proc_kheaders, bcc 0.26)."""
    places = (
        Path(os.environ.get("BCC_KERNEL_SOURCE", "/nonexistent")),
        Path(f"/lib/modules/{os.uname().release}/build"),
        Path("/sys/kernel/kheaders.tar.xz"),
    )
    return any(place.exists() for place in places)


class CompileError(HostError):
    """bcc could not compile a source; `said` is all that the compiler said."""

    def __init__(self, name: str, said: str) -> None:
        tail = "\n".join(said.splitlines()[-12:])
        hint = "Report this with the lines above and the output of: uname -a"
        if "Unable to find kernel headers" in tail:
            hint = HEADERS_HINT
        super().__init__(f"bcc cannot compile {name}:\n{tail}", hint=hint)
        self.said = said


def compile_programs(
    source: Path, names: Sequence[str], macros: Mapping[str, str]
) -> dict[str, bytes]:
    """Each named program's instructions. Raises CompileError."""
    flags = ["-w", "-ferror-limit=0", "-DAT_BCC", f"-I{source.parent}"]
    flags += [f"-D{name}={value}" for name, value in macros.items()]
    bcc = import_bcc()
    with _errors_kept() as said:
        try:
            module = bcc.BPF(text=source.read_bytes(), cflags=flags)
        except Exception as error:  # bcc raises nothing narrower
            raise CompileError(source.name, said()) from error
    try:
        return {name: bytes(module.dump_func(name.encode())) for name in names}
    finally:
        # The compiler's 100 MB go; atexit would keep them.
        atexit.unregister(module.cleanup)
        module.cleanup()


@contextlib.contextmanager
def _errors_kept() -> Iterator[Callable[[], str]]:
    """bcc writes to descriptor 2; keep that for a message of our own."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
