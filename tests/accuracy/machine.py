# SPDX-License-Identifier: GPL-2.0-only
"""The machine that injections run on."""

from __future__ import annotations

import os
from pathlib import Path

GUEST_FACTS = Path("/run/agenttune-guest")


def is_slow() -> bool:
    """Whether this is an emulated guest of the VM lab."""
    return GUEST_FACTS.exists() and "accelerator=kvm" not in GUEST_FACTS.read_text()


def describe() -> str:
    """What it ran on, without names or dates."""
    facts = GUEST_FACTS.read_text().split() if GUEST_FACTS.exists() else []
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown CPU",
    )
    kind = f"VM lab guest ({', '.join(facts)})" if facts else "A virtual machine"
    return f"{kind}: {os.cpu_count()} CPUs ({model}), Linux {os.uname().release}"
