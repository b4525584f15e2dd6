# SPDX-License-Identifier: GPL-2.0-only
"""Prints the table of kmod/RESULTS.md, 'Attribution', in a guest that has the module built.

Usage: vm/run --single -- env PYTHONPATH=.:tests:tests/kmod VENV/bin/python THIS
"""

from __future__ import annotations

import mmap
import os
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import client
import completions
from guest import guest_pairs
from loading import module_of
from tables import print_head, print_row

from vm.lab.machine import AGENT_NIC, NVME_DISK, TOOL_NIC
from vm.scene import interfaces
from vm.scene.scene import networked

STEPS, AGENT_CPU, SPIN_S = 200, 1, 0.02
HEADS = (
    "completions",
    "steps",
    "with exactly one",
    "by the right interrupt",
    "by another",
    "interrupt unknown",
    "found the thread running",
)


def row(name: str, irqs: set[int], first: int, one_step: Callable[[int], None]) -> None:
    """Has the steps, and prints how many were told one completion, and by which interrupt.

    `irqs` are those of the device that are allowed; the kernel's counts say which of them fired.
    """
    before = counts(irqs)
    with client.events("agent_irq_stage") as events:
        for number in range(first, first + STEPS):
            one_step(number)
    fired = {irq for irq, count in counts(irqs).items() if count > before[irq]}
    told = [event for event in events if event["stage"] in ("completion", "running")]
    steps = Counter(int(event["step_id"]) for event in told)
    one = sum(count == 1 for count in steps.values())
    named = Counter(int(event["irq"]) for event in told)
    unknown = named.pop(-1, 0)
    right = sum(count for irq, count in named.items() if irq in fired)
    running = sum(event["stage"] == "running" for event in told)
    print_row(name, STEPS, one, right, sum(named.values()) - right, unknown, running)


def counts(irqs: set[int]) -> dict[int, int]:
    return {irq: interfaces.counts(irq)[AGENT_CPU] for irq in irqs}


def one_of_each(
    disk: completions.Disk, peer: socket.socket, page: mmap.mmap
) -> dict[str, tuple[str, Callable[[int], None]]]:
    """Name → the device's address, and a step that waits for one completion."""

    def read(number: int) -> None:
        with client.step(number):
            disk.read(number)

    def read_running(number: int) -> None:
        with client.step(number):
            disk.read_while_running(number, SPIN_S)

    def read_stored(number: int) -> None:
        with client.stored_step(page, 0, number):
            disk.read(number)

    def ask(number: int, spin_s: float = 0.0) -> None:
        with client.step(number):
            client.bind(number, peer)
            completions.round_trip(peer, spin_s)

    return {
        "NVMe read": (NVME_DISK, read),
        "NVMe read, step marked in the page": (NVME_DISK, read_stored),
        "NVMe read that the thread does not sleep for": (NVME_DISK, read_running),
        "answer over a NIC": (AGENT_NIC, ask),
        "answer that comes while the thread runs": (AGENT_NIC, lambda n: ask(n, SPIN_S)),
    }


def main() -> None:
    facts = guest_pairs()
    print(f"\n### {facts['kernel']} (TCG, {facts['accelerator']})\n")
    print_head(*HEADS)
    module = module_of(facts["kernel"])
    with ExitStack() as stack:
        module.load()
        stack.callback(module.unload)
        stack.enter_context(networked())
        stack.enter_context(interfaces.placed([AGENT_NIC], AGENT_CPU))
        stack.enter_context(interfaces.placed([TOOL_NIC], 2))
        os.sched_setaffinity(0, {AGENT_CPU})
        peer = stack.enter_context(completions.echo())
        disk = stack.enter_context(completions.disk())
        agent = stack.enter_context(client.opened())
        agent.attach()
        page = stack.enter_context(agent.page())
        kinds = one_of_each(disk, peer, page)
        for place, (name, (address, one_step)) in enumerate(kinds.items(), 1):
            row(name, receiving(address), place * 1000, one_step)


def receiving(address: str) -> set[int]:
    """A disk's queues; of a NIC only the receive queue, not the transmit queue."""
    vectors = interfaces.vectors(address).items()
    return {irq for irq, name in vectors if address == NVME_DISK or name.endswith("input.0")}


if __name__ == "__main__":
    main()
