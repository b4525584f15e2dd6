# SPDX-License-Identifier: GPL-2.0-only
"""One boot of one guest, from power-on to the command's exit status."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from vm.lab.errors import BootHung, EmulatorDied, KernelDied, LabError, TimeLimit
from vm.lab.job import Job
from vm.lab.machine import PORTS, Machine, arguments
from vm.lab.options import Options
from vm.lab.process import running
from vm.lab.streams import Lines, TokenEnded

# Output still on its way, or held open by processes the command left behind, gets this long.
DRAIN_SECONDS = 5.0
POWER_OFF_SECONDS = 10.0


@dataclass
class Progress:
    """What the guest has told so far. Monotonic seconds; None: not yet."""

    booted_at: float | None = None
    guest_uptime_s: float | None = None
    exit_status: int | None = None
    exited_at: float | None = None


def boot(machine: Machine, job: Job, options: Options) -> Progress:
    """Boots and runs the job to its end, passing its output through. Raises LabError's kinds."""
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in PORTS]
        ours = {name: stack.enter_context(pair[0]) for name, pair in zip(PORTS, pairs, strict=True)}
        theirs = [pair[1] for pair in pairs]
        inherited = tuple(end.fileno() for end in theirs)
        machine = replace(machine, ports=inherited)
        log = job.directory / "qemu.log"
        process = stack.enter_context(running(arguments(machine), log, inherited))
        for end in theirs:
            end.close()
        progress = _follow(ours, job, options)
        if progress.exit_status is None:
            raise _death(progress, process, log)
        _power_off(ours["status"], process)
        return progress


def _follow(ours: dict[str, socket.socket], job: Job, options: Options) -> Progress:
    """Passes output on until the job ended and its streams did, or the guest is gone."""
    progress = Progress()
    started = time.monotonic()
    streams = {
        "output": TokenEnded(job.token, lambda data: _write_all(1, data)),
        "errors": TokenEnded(job.token, lambda data: _write_all(2, data)),
    }
    lines = Lines()
    with selectors.DefaultSelector() as selector:
        for name, end in ours.items():
            selector.register(end, selectors.EVENT_READ, name)
        while selector.get_map() and not _finished(progress, streams):
            limit = _limit(progress, started, options)
            for key, _ in selector.select(max(0.0, limit - time.monotonic())):
                data = _receive(ours[key.data])
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data == "status":
                    _note(progress, lines.feed(data))
                else:
                    streams[key.data].feed(data)
            if time.monotonic() >= limit:
                _raise_late(progress, options)
                break
    for stream in streams.values():
        stream.close()
    return progress


def _finished(progress: Progress, streams: dict[str, TokenEnded]) -> bool:
    return progress.exit_status is not None and all(stream.ended for stream in streams.values())


def _limit(progress: Progress, started: float, options: Options) -> float:
    """The monotonic second at which the present phase has taken too long."""
    if progress.exited_at is not None:
        return progress.exited_at + DRAIN_SECONDS
    if progress.booted_at is not None:
        return progress.booted_at + options.seconds
    return started + options.boot_seconds


def _raise_late(progress: Progress, options: Options) -> None:
    if progress.booted_at is None:
        raise BootHung(f"no sign of life from the guest in {options.boot_seconds:g} s")
    if progress.exited_at is None:
        raise TimeLimit(f"the command did not end in {options.seconds:g} s; the guest is gone")


def _note(progress: Progress, lines: list[str]) -> None:
    for line in lines:
        word, _, value = line.partition(" ")
        if word == "booted":
            progress.booted_at = time.monotonic()
            progress.guest_uptime_s = float(value)
        elif word == "exit":
            progress.exited_at = time.monotonic()
            progress.exit_status = int(value)


def _death(progress: Progress, process: subprocess.Popen[bytes], log: Path) -> LabError:
    """What to call it that the guest's ports closed before it told an exit status."""
    when = "at boot" if progress.booted_at is None else "while the command ran"
    try:
        status = process.wait(POWER_OFF_SECONDS)
    except subprocess.TimeoutExpired:
        return EmulatorDied(f"QEMU itself closed the guest's ports {when}, and stayed")
    lines = log.read_text(errors="replace").splitlines()
    # Hubs without the outside world are what the lab wants.
    said = "; ".join(line for line in lines if "is not connected to host network" not in line)
    said = f": {said}" if said else ""
    if status == 0:
        return KernelDied(f"the guest died {when}{said}")
    how = f"died of signal {-status}" if status < 0 else f"exited with {status}"
    return EmulatorDied(f"QEMU itself {how} {when}{said}")


def _power_off(status: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Lets the guest sync and reset itself, which ends QEMU (-no-reboot)."""
    try:
        status.sendall(b"bye\n")
        process.wait(POWER_OFF_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except ConnectionResetError:
        return b""


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
