# SPDX-License-Identifier: GPL-2.0-only
"""What a driver's action name tells of its queue."""

from __future__ import annotations

import re

# One pattern a naming habit, tried in order; group 1 is the queue. The drivers' request_irq() or
# snprintf() calls, v6.12.
_PATTERNS: tuple[tuple[re.Pattern[str], str | None], ...] = (
    # virtio_net: 'virtio2-input.0', 'virtio2-output.0'
    (re.compile(r"virtio\d+-input\.(\d+)"), "rx"),
    (re.compile(r"virtio\d+-output\.(\d+)"), "tx"),
    # virtio_blk: 'virtio1-req.0'
    (re.compile(r"virtio\d+-req\.(\d+)"), None),
    # ixgbe, igb, igc, i40e, ice, iavf, bnxt, vmxnet3, tg3, ena: '…-TxRx-3', '…-rxtx-3',
    # '…-Tx-Rx-3'
    (re.compile(r".*-(?:tx-?rx|rx-?tx)-(\d+)", re.IGNORECASE), "rxtx"),
    # bnx2x, qede: 'eth0-fp-3'
    (re.compile(r".*-fp-(\d+)"), "rxtx"),
    # e1000e, igb, tg3, vmxnet3: 'eth0-rx-0', 'eth0-tx-0'
    (re.compile(r".*-rx-(\d+)", re.IGNORECASE), "rx"),
    (re.compile(r".*-tx-(\d+)", re.IGNORECASE), "tx"),
    # mlx5_core: 'mlx5_comp3@pci:0000:3b:00.0'
    (re.compile(r"mlx5_comp(\d+)@pci:.*"), "rxtx"),
    # mana: 'mana_q3@pci:…'
    (re.compile(r"mana_q(\d+)@pci:.*"), "rxtx"),
)
# nvme: 'nvme0q0' is the admin queue, 'nvme0q1' serves blk-mq queue 0.
_NVME = re.compile(r"nvme\d+q(\d+)")


def parse_action(action: str) -> tuple[int | None, str | None]:
    """(queue, direction) of an action name, None for what the name does not tell."""
    nvme = _NVME.fullmatch(action)
    if nvme:
        queue = int(nvme[1])
        return (queue - 1 if queue else None), None
    for pattern, direction in _PATTERNS:
        match = pattern.fullmatch(action)
        if match:
            return int(match[1]), direction
    return None, None
