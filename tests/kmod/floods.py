# SPDX-License-Identifier: GPL-2.0-only
"""Traffic that keeps one CPU's NET_RX busy, and what arrived of it."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from actors import eventually
from debug_kernel import paced, patience

from vm.lab.machine import AGENT_NIC, FLOOD_NIC, SOURCE_NIC, TOOL_NIC
from vm.scene import interfaces
from vm.scene.scene import (
    AGENT_ADDRESS,
    SOURCE_NAMESPACE,
    TOOL_NAMESPACE,
    Cast,
    flooding,
    networked,
)
from vm.scene.softnet import SoftnetCounts, softnet

BUSY_CPU = 1
_SENDER = """
import hashlib, os, socket, sys
os.sched_setaffinity(0, {2})
block = os.urandom(1 << 20)
digest = hashlib.sha256()
with socket.create_connection((sys.argv[1], 7705)) as peer:
    for number in range(int(sys.argv[2])):
        data = number.to_bytes(8, "big") + block
        digest.update(data)
        peer.sendall(data)
print(digest.hexdigest())
"""


def squeezes(before: dict[int, SoftnetCounts], after: dict[int, SoftnetCounts]) -> dict[int, int]:
    """How often each CPU left net_rx_action() with work undone."""
    return {cpu: after[cpu].squeezed - before[cpu].squeezed for cpu in before}


def drops(before: dict[int, SoftnetCounts], after: dict[int, SoftnetCounts]) -> int:
    """Packets that found the backlog full."""
    return sum(after[cpu].dropped - before[cpu].dropped for cpu in before)


@contextmanager
def busy_nics() -> Iterator[None]:
    """The scene's NICs; those that receive interrupt BUSY_CPU."""
    with ExitStack() as stack:
        stack.enter_context(networked())
        stack.enter_context(interfaces.placed([AGENT_NIC, FLOOD_NIC], BUSY_CPU))
        stack.enter_context(interfaces.placed([TOOL_NIC], 2))
        stack.enter_context(interfaces.placed([SOURCE_NIC], 3))
        # Without neighbour discovery the flood is all that its two devices count.
        _quiet(FLOOD_NIC)
        _quiet(SOURCE_NIC, "ip", "netns", "exec", SOURCE_NAMESPACE)
        # A vector moves at its next interrupt; under a flood that never lets NAPI rest none comes.
        flood(1)
        yield


@contextmanager
def endless_flood() -> Iterator[None]:
    """Towards NIC B, until left."""
    with flooding(Cast(seconds=patience(120.0))) as source:
        yield
        assert source.poll() is None, "the flood ended before the test did"


def flood(packets: int) -> None:
    """At least so many packets to NIC B; all of them arrive, by the device's counter."""
    received = _received_before()
    limit = patience(120.0)
    with flooding(Cast(seconds=limit, packets=packets)) as source:
        assert source.wait(limit) == 0
        assert source.stdout
        sent = int(source.stdout.read())
        eventually(lambda: _received() - received >= sent)
        arrived = _received() - received
        # Without the sink what is left of a backlog would be answered, which asks for an address.
        eventually(lambda: not any(counts.waiting for counts in softnet().values()))
    assert arrived == sent >= packets


def _received_before() -> int:
    """What the device counts, once nothing of an earlier flood is on its way any more."""

    def rests() -> bool:
        before = _received()
        time.sleep(paced(0.2))
        return _received() == before

    eventually(rests)
    return _received()


def _received() -> int:
    device = interfaces.interface(FLOOD_NIC)
    return int(Path(f"/sys/class/net/{device}/statistics/rx_packets").read_text())


def _quiet(address: str, *inside: str) -> None:
    device = f"$(basename /sys/bus/pci/devices/{address}/virtio*/net/*)"
    _shell(f"echo 1 > /proc/sys/net/ipv6/conf/{device}/disable_ipv6", *inside)
    _shell(f"ip link set {device} arp off", *inside)


def _shell(script: str, *inside: str) -> str:
    words = [*inside, "sh", "-c", script]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@contextmanager
def steered(cpu: int) -> Iterator[None]:
    """NIC B's packets go through `cpu`'s backlog (RPS), which holds all of a test's."""
    mask = Path(f"/sys/class/net/{interfaces.interface(FLOOD_NIC)}/queues/rx-0/rps_cpus")
    longest = Path("/proc/sys/net/core/netdev_max_backlog")
    before = longest.read_text()
    longest.write_text("200000")
    mask.write_text(f"{1 << cpu:x}")
    try:
        yield
    finally:
        mask.write_text("0")
        longest.write_text(before)


def transfer(mebibytes: int) -> bool:
    """TCP from the tool to NIC A. Whether what arrived has the checksum of what was sent."""
    digest = hashlib.sha256()
    with socket.create_server((AGENT_ADDRESS, 7705)) as server:
        server.settimeout(60.0)
        inside = ["ip", "netns", "exec", TOOL_NAMESPACE]
        sender = subprocess.Popen(
            [*inside, sys.executable, "-c", _SENDER, AGENT_ADDRESS, str(mebibytes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with sender, server.accept()[0] as peer:
            peer.settimeout(60.0)
            while data := peer.recv(1 << 18):
                digest.update(data)
            words, _ = sender.communicate(timeout=60.0)
    return words.strip() == digest.hexdigest()
