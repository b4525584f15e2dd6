# SPDX-License-Identifier: GPL-2.0-only
"""System call names against the header of this machine's kernel interface."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from agenttune.measure.syscall_names import syscall_name

HEADER = Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h")


def test_names_are_the_headers() -> None:
    """linux-libc-dev has the header, which building the BPF objects needs too."""
    defined = re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())
    assert len(defined) > 300
    for name, number in defined:
        # A library older than the header leaves the newest as numbers.
        assert syscall_name(int(number)) in (name, f"syscall {number}")
    assert syscall_name(0) == "read"


@pytest.mark.parametrize(
    ("number", "compat", "name"),
    [(5, False, "fstat"), (5, True, "open (32-bit)"), (99999, False, "syscall 99999")],
)
def test_32_bit_calls_have_numbers_of_their_own(number: int, compat: bool, name: str) -> None:
    assert syscall_name(number, compat=compat) == name
