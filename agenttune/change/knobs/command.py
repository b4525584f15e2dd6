# SPDX-License-Identifier: GPL-2.0-only
"""A foreign tool's setting: a command that makes it, and the one that undoes it.

Nobody can read whether such a setting is made, so a mark below /run says it: durable before the
command runs, gone with the boot, as the transaction is. The target is the pair of commands: the
journal alone is enough to undo it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps
from agenttune.errors import HostError

MADE, NOT_MADE = "made", "not made"
_FOLDER = "/run/agenttune-commands"
_TIMEOUT_S = 60.0
# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Commands:
    """`cpus`: the agent's, for the commands to see."""

    name: str
    apply: str
    undo: str
    cpus: str = ""


def target_of(commands: Commands) -> str:
    return msgspec.json.encode(commands).decode()


def _parse(target: str) -> Commands:
    try:
        return msgspec.json.decode(target, type=Commands)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise HostError(f"{target[:80]!r} is no pair of commands: {error}") from error


def _locate(_kernel: Kernel, target: str) -> str:
    _parse(target)
    return target


def _mark(kernel: Kernel, target: str) -> Path:
    name = hashlib.sha256(target.encode()).hexdigest()[:32]
    return Path(kernel.tree.path(f"{_FOLDER}/{name}"))


def _read(kernel: Kernel, target: str) -> str:
    return MADE if _mark(kernel, target).exists() else NOT_MADE


def _write(kernel: Kernel, target: str, value: str) -> str:
    commands, mark = _parse(target), _mark(kernel, target)
    if value == MADE:
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        _run(commands, commands.apply, mark)
    elif mark.exists():
        _run(commands, commands.undo, mark)
        for kept in mark.parent.glob(f"{mark.name}.*"):
            kept.unlink()
        mark.unlink()
    return _read(kernel, target)


def _die_with_parent() -> None:
    """A command that outlived a killed agenttune could still write after the revert."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _run(commands: Commands, command: str, mark: Path) -> None:
    """Raises HostError for a command that fails or does not end."""
    environment = {
        **os.environ,
        "AGENTTUNE_ARM_STATE": str(mark.with_suffix(".state")),
        "AGENTTUNE_AGENT_CPUS": commands.cpus,
    }
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"{commands.name}: {command!r} did not end in {_TIMEOUT_S:g} s",
            hint="Have it start what goes on in the background, with its output elsewhere.",
        ) from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise HostError(
            f"{commands.name}: {command!r} failed (exit {done.returncode}): "
            f"{words[-1][:300] if words else 'it said nothing'}",
            hint="Run it by hand in /bin/sh to see why.",
        )


OPS = KnobOps(locate=_locate, read=_read, write=_write, canonical=str)
