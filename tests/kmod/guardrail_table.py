# SPDX-License-Identifier: GPL-2.0-only
"""Prints the table of kmod/RESULTS.md, 'Guardrail', in a guest that has the module built.

Usage: vm/run --single -- env PYTHONPATH=.:tests:tests/kmod VENV/bin/python THIS
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack

from floods import (
    BUSY_CPU,
    busy_nics,
    drops,
    endless_flood,
    flood,
    squeezes,
    steered,
    transfer,
)
from guardrail import bounded
from guest import guest_pairs
from loading import module_of
from net_rx import Action, largest, recorded
from tables import print_head, print_row

from vm.scene.softnet import softnet

PACKETS = 6000
STEERED_TO = 2
HEADS = (
    "traffic",
    "bound",
    "net_rx_actions with packets",
    "largest",
    "median",
    "largest of several NAPIs",
    "squeezes",
    "squeezes elsewhere",
    "weights elsewhere",
    "backlog drops",
)


def row(name: str, bound: str, watched: int, traffic: Callable[[], object]) -> list[Action]:
    """Has `traffic` under the bounds that are set, and prints what `watched` did."""
    before = softnet()
    with recorded() as recording:
        traffic()
    after = softnet()
    squeezed = squeezes(before, after)
    actions = [action for action in recording.on(watched) if action.packets]
    weights = sorted({poll.weight for action in recording.off(watched) for poll in action.polls})
    print_row(
        name,
        bound,
        len(actions),
        largest(actions),
        int(statistics.median([action.packets for action in actions] or [0])),
        largest([action for action in actions if action.busy_napis > 1]) or "-",
        squeezed.pop(watched),
        sum(squeezed.values()),
        ", ".join(map(str, weights)) or "-",
        drops(before, after),
    )
    return actions


def floods() -> None:
    """A flood towards NIC B; flood() itself checks that every packet arrives."""
    name = "UDP flood"
    free = row(name, "none", BUSY_CPU, lambda: flood(PACKETS))
    with bounded(packets=16):
        row(name, "16 packets", BUSY_CPU, lambda: flood(PACKETS))
    with bounded(packets=16, cpus="2"):
        row(name, "16 packets, on CPU 2", BUSY_CPU, lambda: flood(PACKETS))
    took = statistics.median(action.us for action in free)
    with bounded(ns=max(int(took * 1000 / 8), 10_000)):
        held = row(name, "1/8 of the time", BUSY_CPU, lambda: flood(PACKETS))
    ratio = statistics.median(action.us for action in held) / took
    with steered(STEERED_TO):
        name = "the same through the backlog (RPS)"
        row(name, "none", STEERED_TO, lambda: flood(PACKETS))
        with bounded(packets=16, cpus=str(STEERED_TO)):
            row(name, "16 packets", STEERED_TO, lambda: flood(PACKETS))
    print(f"\nMedian time with 1/8 of it for a bound: {ratio:.3f} of that without.\n")


def transfers() -> None:
    """TCP with GRO, alone and beside a flood on another NIC of the same CPU."""
    for packets in (0, 8):
        with bounded(packets=packets):
            row("TCP", f"{packets or 'none'}", BUSY_CPU, lambda: _whole(4))
    for packets in (0, 16):
        with bounded(packets=packets), endless_flood():
            row("TCP and flood", f"{packets or 'none'}", BUSY_CPU, lambda: _whole(1))


def _whole(mebibytes: int) -> None:
    assert transfer(mebibytes), "the checksum differs"


def main() -> None:
    facts = guest_pairs()
    print(f"\n### {facts['kernel']} (TCG, {facts['accelerator']})\n")
    module = module_of(facts["kernel"])
    with ExitStack() as stack:
        module.load()
        stack.callback(module.unload)
        stack.enter_context(busy_nics())
        print_head(*HEADS)
        floods()
        print_head(*HEADS)
        transfers()


if __name__ == "__main__":
    main()
