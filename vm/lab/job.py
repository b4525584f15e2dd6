# SPDX-License-Identifier: GPL-2.0-only
"""The directory of one guest: what it is told, its disks, its messages."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm.lab.cache import Cache
from vm.lab.errors import SetupMissing
from vm.lab.machine import TOLD
from vm.lab.options import Options

TREE = Path(__file__).resolve().parents[2]
DISK_BYTES = 64 << 20
_KEPT_VARIABLES = ("LANG", "PYTEST_ADDOPTS")


@dataclass(frozen=True)
class Job:
    """One command for one guest. `token` ends each of its two output streams."""

    directory: Path
    token: bytes


def prepare(options: Options, cache: Cache, accelerator: str) -> Job:
    """Writes the files vm/guest/init and vm/guest/session read; call under the cache's lock."""
    if any(character.isspace() for character in str(cache.runs)):
        raise SetupMissing(f"the cache path {cache.runs} must not contain blanks")
    shutil.rmtree(cache.runs, ignore_errors=True)
    cache.runs.mkdir(parents=True)
    directory = Path(tempfile.mkdtemp(dir=cache.runs))
    token = b"\0" + secrets.token_hex(16).encode() + b"\0"
    files = {
        "tree": str(TREE),
        "cache": str(cache.root),
        "kernel": str(cache.kernel(options.kernel)),
        "command": command_script(options, cache),
        "facts": facts(options, accelerator),
    }
    if options.out is not None:
        files["out"] = str(options.out.resolve())
    told = directory / TOLD
    told.mkdir()
    for name, text in files.items():
        (told / name).write_text(text)
    (told / "token").write_bytes(token)
    for name in ("nvme.img", "virtio.img"):
        with (directory / name).open("wb") as image:
            image.truncate(DISK_BYTES)
    return Job(directory, token)


def facts(options: Options, accelerator: str) -> str:
    """The text of /run/agenttune-guest: by it a test knows that it is in a guest, and in which."""
    remapping = "yes" if options.iommu else "no"
    return f"kernel={options.kernel}\niommu={remapping}\naccelerator={accelerator}\n"


def command_script(options: Options, cache: Cache) -> str:
    """A shell script that becomes the command, with a small environment of its own."""
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    variables |= {n: v for n, v in os.environ.items() if n.startswith("AGENTTUNE_")}
    variables |= {"AGENTTUNE_CACHE": str(cache.root), "HOME": "/root", "TERM": "dumb"}
    if options.out is not None:
        variables["AGENTTUNE_OUT"] = str(options.out.resolve())
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    lines = [*exports, f"cd {shlex.quote(str(TREE))}", f"exec {shlex.join(options.command)}"]
    return "\n".join(lines) + "\n"
