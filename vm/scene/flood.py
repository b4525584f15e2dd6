# SPDX-License-Identifier: GPL-2.0-only
"""A bounded flood of small UDP packets, made by the kernel's packet generator.

A program that sends packet by packet rings the device for each, which is slow in a guest; pktgen
(Documentation/networking/pktgen.rst) rings once per burst, so that the receiver is the busy one.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from vm.scene.interfaces import interface
from vm.scene.processes import SceneError, become, say_ready

PORT = 7702
PACKET_BYTES = 256
BURST_PACKETS = 32
_PKTGEN = Path("/proc/net/pktgen")
_SO_ATTACH_FILTER = 26
# struct sock_filter: code, jt, jf, k (include/uapi/linux/filter.h). The first is BPF_LD | BPF_W |
# BPF_ABS of SKF_AD_PAY_OFFSET, the second BPF_RET | BPF_K of the whole packet.
_DISSECT = struct.pack("HBBI", 0x20, 0, 0, 0xFFFFF034)
_PASS = struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)


def open_sink(address: str, dissections: int) -> socket.socket:
    """A socket for the flood to end in. Nobody reads it: when full, it drops without a wakeup.

    Its filter has the kernel look for each packet's payload so many times, in softirq, and lets
    it pass.
    """
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if dissections:
        program = ctypes.create_string_buffer(dissections * _DISSECT + _PASS)
        order = struct.pack("HP", dissections + 1, ctypes.addressof(program))
        sink.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, order)
    sink.bind((address, PORT))
    return sink


def flood(values: argparse.Namespace) -> None:
    """Floods from NIC `values.nic` until the packets or seconds are over, or the process ends.

    The kernel's thread of that CPU sends; it stops when the writer of `start` is interrupted.
    At the end of the packets a line says how many there were, by the generator's own count: a
    driver counts them when it frees them, which may be much later.
    """
    thread = _PKTGEN / f"kpktgend_{values.cpu}"
    device = interface(values.nic)
    _write(thread, "rem_device_all")
    _write(thread, f"add_device {device}")
    for setting in _settings(values):
        _write(_PKTGEN / device, setting)
    try:
        say_ready()
        signal.setitimer(signal.ITIMER_REAL, values.seconds)
        _write(_PKTGEN / "pgctrl", "start")
        print(_sent(device), flush=True)
    finally:
        # The kernel warns of a device that is removed while its thread sends.
        _write(_PKTGEN / "pgctrl", "stop")
        _write(thread, "rem_device_all")
        # The thread does it when it has its turn; until then the next flood's device is this one.
        deadline = time.monotonic() + 4.0
        while (_PKTGEN / device).exists() and time.monotonic() < deadline:
            time.sleep(0.02)


def _sent(device: str) -> int:
    found = re.search(r"pkts-sofar: (\d+)", (_PKTGEN / device).read_text())
    assert found, "pktgen does not tell what it sent"
    return int(found[1])


def _write(path: Path, order: str) -> None:
    # pgctrl_write() takes the last character for a line end, whatever it is.
    path.write_text(f"{order}\n")


def _settings(values: argparse.Namespace) -> list[str]:
    return [
        f"count {values.packets}",
        f"pkt_size {PACKET_BYTES}",
        f"delay {values.pause_us * 1000}",
        "clone_skb 1000",
        f"burst {BURST_PACKETS}",
        f"dst {values.address}",
        f"dst_mac {values.mac}",
        f"udp_dst_min {PORT}",
        f"udp_dst_max {PORT}",
    ]


def load_generator() -> None:
    """Has the kernel's packet generator ready. Raises SceneError."""
    done = subprocess.run(["modprobe", "pktgen"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SceneError(f"modprobe pktgen: {done.stderr.strip()}")


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("nic", help="PCI address")
    parser.add_argument("address")
    parser.add_argument("mac")
    parser.add_argument("--cpu", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--packets", type=int, required=True)
    parser.add_argument("--pause-us", type=int, required=True)
    values = parser.parse_args()
    become("flood", None)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _end)
    flood(values)


if __name__ == "__main__":
    main()
