#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Plays QEMU and its guest for the lab's tests, by the script that FAKE_GUEST names."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

CRASH = "Oops: int3: 0000 [#1] PREEMPT SMP\nRIP: 0010:{frame}\nKernel panic - not syncing\n"


def port(name: str) -> socket.socket:
    [chardev] = [word for word in sys.argv if word.startswith(f"socket,id={name},")]
    return socket.socket(fileno=int(chardev.rpartition("=")[2]))


def option(start: str) -> Path:
    [word] = [word for word in " ".join(sys.argv).split() if word.startswith(start)]
    return Path(word.removeprefix(start))


def main() -> None:
    if "--version" in sys.argv:
        print("QEMU emulator version 10.0.2 (fake)")
        return
    script = os.environ["FAKE_GUEST"]
    console = option("file:")
    status, output, errors = (port(name) for name in ("status", "output", "errors"))
    token = (option("lab.job=") / "token").read_bytes()
    if tries := os.environ.get("FAKE_TRIES"):
        with Path(tries).open("a") as file:
            file.write("boot\n")
    if script == "hang":
        time.sleep(60)
    if script == "abort":
        print("made-up assertion", file=sys.stderr, flush=True)
        os.abort()
    if script == "die-early":
        console.write_text("Kernel panic - not syncing: no init found\n")
        return
    status.sendall(b"booted 1.5\n")
    if script in ("int3", "our-int3"):
        frame = "sched_clock_cpu+0x9" if script == "int3" else "probe+0x9 [agent_latency]"
        console.write_text(CRASH.format(frame=frame))
        return
    if script == "run-on":
        time.sleep(60)
    output.sendall(b"some\0output\n" + token)
    errors.sendall(b"some errors\n")
    status.sendall(b"exit 7\n")
    if script != "left-behind":
        errors.sendall(token)
    console.write_text("WARNING: CPU: 1 PID: 1 at kernel/x.c\n" if script == "warn" else "fine\n")
    status.recv(10)


main()
