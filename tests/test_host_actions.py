# SPDX-License-Identifier: GPL-2.0-only
"""Queue and direction from drivers' action names."""

from __future__ import annotations

import pytest

from agenttune.host.actions import parse_action


@pytest.mark.parametrize(
    ("action", "queue", "direction"),
    [
        ("virtio2-input.0", 0, "rx"),
        ("virtio2-output.3", 3, "tx"),
        ("virtio2-config", None, None),
        ("virtio1-req.2", 2, None),
        ("virtio4-input", None, None),
        ("nvme0q0", None, None),
        ("nvme0q1", 0, None),
        ("nvme12q32", 31, None),
        ("eth0-TxRx-3", 3, "rxtx"),
        ("i40e-enp96s0f0-TxRx-17", 17, "rxtx"),
        ("ens5-Tx-Rx-1", 1, "rxtx"),
        ("eth0-rxtx-2", 2, "rxtx"),
        ("eth0-txrx-2", 2, "rxtx"),
        ("eth0-rx-0", 0, "rx"),
        ("eth0-tx-0", 0, "tx"),
        ("eth0-fp-5", 5, "rxtx"),
        ("mlx5_comp3@pci:0000:3b:00.0", 3, "rxtx"),
        ("mlx5_async@pci:0000:3b:00.0", None, None),
        ("mana_q7@pci:7870:00:00.0", 7, "rxtx"),
        ("eth0", None, None),
        ("eth0-event-3", None, None),
        ("virtio3-rx", None, None),
        ("ttyS0", None, None),
        ("", None, None),
    ],
)
def test_names_of_known_drivers(action: str, queue: int | None, direction: str | None) -> None:
    assert parse_action(action) == (queue, direction)
