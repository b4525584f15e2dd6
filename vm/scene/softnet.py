# SPDX-License-Identifier: GPL-2.0-only
"""/proc/net/softnet_stat, read apart from agenttune's own reader: it is held against this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SoftnetCounts:
    """One CPU's line of /proc/net/softnet_stat."""

    processed: int
    dropped: int
    squeezed: int
    waiting: int  # packets in the backlog


def softnet() -> dict[int, SoftnetCounts]:
    """By CPU, which is the 13th column (softnet_seq_show in net/core/net-procfs.c, v6.1)."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    fields = [[int(field, 16) for field in line.split()] for line in lines]
    return {line[12]: SoftnetCounts(*line[:3], line[11]) for line in fields}
