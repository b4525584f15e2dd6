# SPDX-License-Identifier: GPL-2.0-only
"""Timer: something outside this process that reverts a transaction unless it is confirmed."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import agenttune
from agenttune.change.kernel import Kernel
from agenttune.change.processes import task_stat
from agenttune.errors import HostError

# A new interpreter takes well under a second; a host that needs more is too busy to trust.
_READY_TIMEOUT_S = 20.0
_UNIT = "unit:"
_WATCHDOG = "pid:"


def arm(kernel: Kernel, state_directory: Path, txn: int, deadline_ns: int) -> str:
    """Start the timer and return its name for cancel(). Raises HostError if it does not start.

    A transient systemd timer where systemd runs, else a watchdog process in a session of its own.
    Both outlive this process and its terminal.
    """
    action = [
        *(sys.executable, "-P", "-m", "agenttune.change.confirm"),
        *("--state-dir", str(state_directory.absolute()), "--root", str(kernel.root.absolute())),
        *("--txn", str(txn), "--deadline-ns", str(deadline_ns)),
    ]
    if kernel.tree.exists("/run/systemd/system") and kernel.live:
        return _systemd_timer(action, txn, (deadline_ns - kernel.now_ns()) / 1e9)
    return _watchdog(kernel, action)


def cancel(timer: str) -> None:
    """Stop a timer; one that has ended already is no error."""
    if timer.startswith(_UNIT):
        name = timer.removeprefix(_UNIT)
        command = ["systemctl", "stop", f"{name}.timer"]
        with suppress(FileNotFoundError):
            subprocess.run(command, capture_output=True, check=False)
        return
    pid, _, start_ticks = timer.removeprefix(_WATCHDOG).partition("@")
    stat = task_stat(Kernel(), int(pid))
    # The watchdog itself runs this when it reverts.
    if stat is not None and stat.start_ticks == int(start_ticks) and stat.pid != os.getpid():
        with suppress(ProcessLookupError):
            os.kill(stat.pid, signal.SIGTERM)


def _package_path() -> str:
    """Where the new interpreter finds this same agenttune, installed or not."""
    return str(Path(agenttune.__file__).parent.parent)


def _systemd_timer(action: list[str], txn: int, seconds: float) -> str:
    program = shutil.which("systemd-run")
    if program is None:
        raise HostError(
            "systemd runs here, but systemd-run is not installed, so nothing can keep the deadline",
            hint="Install the systemd package's tools, or apply without --confirm-within.",
        )
    name = f"agenttune-confirm-{txn}-{os.getpid()}"
    options = [
        f"--unit={name}",
        f"--on-active={max(seconds, 0.0):.3f}s",
        "--timer-property=AccuracySec=100ms",
        f"--setenv=PYTHONPATH={_package_path()}",
        "--description=agenttune: revert unless confirmed",
        "--collect",
        "--quiet",
    ]
    done = subprocess.run([program, *options, *action], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(
            f"systemd-run could not arm the revert timer: {done.stderr.strip()[:300]}",
            hint="Nothing was written. See 'systemctl status', or leave --confirm-within out.",
        )
    return _UNIT + name


def _watchdog(kernel: Kernel, action: list[str]) -> str:
    """Start the same action as a process of its own session; it says when it is ready to wait."""
    ready, says = os.pipe()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            action,
            {"PYTHONPATH": _package_path(), "PATH": os.environ.get("PATH", os.defpath)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, says, 1),
                (os.POSIX_SPAWN_DUP2, null, 2),
            ],
            setsid=True,
        )
        os.close(says)
        says = -1
        readable, _, _ = select.select([ready], [], [], _READY_TIMEOUT_S)
        if readable and os.read(ready, 1):
            stat = task_stat(Kernel(), pid)
            if stat is not None:
                return f"{_WATCHDOG}{pid}@{stat.start_ticks}"
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finally:
        for descriptor in (ready, null, says):
            if descriptor >= 0:
                os.close(descriptor)
    raise HostError("the watchdog that would revert the change did not start")
