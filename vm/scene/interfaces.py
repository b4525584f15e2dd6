# SPDX-License-Identifier: GPL-2.0-only
"""The guest's network devices by PCI address, their interrupts included."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm.scene.processes import SceneError

_PCI = Path("/sys/bus/pci/devices")
_IRQ = Path("/proc/irq")


def run_ip(*arguments: str) -> None:
    """One `ip` command; its own words become the error."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SceneError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def interface(address: str) -> str:
    """Name of the network interface of the PCI device at `address`, such as 0000:00:03.0.

    Seen from this network namespace only.
    """
    device = _PCI / address
    found = [*device.glob("net/*"), *device.glob("virtio*/net/*")]
    if len(found) != 1:
        raise SceneError(f"{address} has {len(found)} network interfaces here, not one")
    return found[0].name


def hardware_address(address: str) -> str:
    """MAC address of the network interface of the PCI device at `address`."""
    return Path(f"/sys/class/net/{interface(address)}/address").read_text().strip()


def vectors(address: str) -> dict[int, str]:
    """Interrupt number → action name of every vector of the PCI device that a driver uses."""
    numbers = sorted(int(path.name) for path in (_PCI / address / "msi_irqs").iterdir())
    named = {number: action(number) for number in numbers}
    return {number: name for number, name in named.items() if name}


def action(irq: int) -> str:
    """The name that the driver gave interrupt `irq`, or nothing."""
    directory = _IRQ / str(irq)
    return next((path.name for path in directory.iterdir() if path.is_dir()), "")


def affinity(irq: int) -> str:
    """The CPUs interrupt `irq` may go to, as a list."""
    return (_IRQ / str(irq) / "smp_affinity_list").read_text().strip()


def effective_affinity(irq: int) -> str:
    """The CPU interrupt `irq` last went to; without remapping it lags until the next one."""
    return (_IRQ / str(irq) / "effective_affinity_list").read_text().strip()


def place(irq: int, cpus: str) -> None:
    """Allows interrupt `irq` on `cpus` (a list) only."""
    (_IRQ / str(irq) / "smp_affinity_list").write_text(cpus)


def counts(irq: int) -> list[int]:
    """How often each CPU took interrupt `irq`, from /proc/interrupts."""
    lines = Path("/proc/interrupts").read_text().splitlines()
    cpus = len(lines[0].split())
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        if number.strip() == str(irq):
            return [int(field) for field in rest.split()[:cpus]]
    raise SceneError(f"/proc/interrupts has no interrupt {irq}")


@contextmanager
def placed(addresses: list[str], cpu: int) -> Iterator[None]:
    """All vectors of the devices on `cpu`; afterwards each is allowed where it was before."""
    before = {irq: affinity(irq) for address in addresses for irq in vectors(address)}
    try:
        for irq in before:
            place(irq, str(cpu))
        yield
    finally:
        for irq, cpus in before.items():
            if (_IRQ / str(irq)).exists():
                place(irq, cpus)


@contextmanager
def namespace(name: str, address: str, network_address: str) -> Iterator[None]:
    """A network namespace that has the NIC at PCI `address`, up; the NIC returns afterwards."""
    device = interface(address)
    run_ip("netns", "add", name)
    try:
        run_ip("link", "set", device, "netns", name)
        run_ip("-n", name, "link", "set", "lo", "up")
        run_ip("-n", name, "address", "add", network_address, "dev", device)
        run_ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        subprocess.run(["ip", "-n", name, "link", "set", device, "netns", "1"], check=False)
        run_ip("netns", "delete", name)


@contextmanager
def addressed(address: str, network_address: str) -> Iterator[None]:
    """The NIC at PCI `address` up in this namespace with `network_address`; down afterwards."""
    device = interface(address)
    try:
        run_ip("address", "add", network_address, "dev", device)
        run_ip("link", "set", device, "up")
        yield
    finally:
        run_ip("address", "flush", "dev", device)
        run_ip("link", "set", device, "down")


@contextmanager
def threaded(address: str) -> Iterator[None]:
    """The NIC's NAPIs have threads of their own meanwhile."""
    switch = Path(f"/sys/class/net/{interface(address)}/threaded")
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text("0")
