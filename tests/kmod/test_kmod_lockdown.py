# SPDX-License-Identifier: GPL-2.0-only
"""What the module still tells when the kernel must not tell its secrets even to root.

Lockdown cannot be taken back, and other tests do not work under it: this takes a guest of its own.

    AGENTTUNE_LOCKDOWN=1 vm/run --single -- PYTHON -m pytest tests/kmod/test_kmod_lockdown.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from client import DEBUGFS, opened
from loading import KernelModule
from x86_file import X86, assert_withheld

pytestmark = [
    pytest.mark.guest,
    pytest.mark.kmod,
    pytest.mark.skipif(
        os.environ.get("AGENTTUNE_LOCKDOWN") != "1",
        reason="AGENTTUNE_LOCKDOWN=1 locks the guest down, for good",
    ),
]

SECURITY = Path("/sys/kernel/security")


def lock_down(level: str) -> None:
    if not (SECURITY / "lockdown").exists():
        subprocess.run(["mount", "-t", "securityfs", "securityfs", SECURITY], check=True)
    (SECURITY / "lockdown").write_text(level)


def test_addresses_are_withheld_in_confidentiality_mode_only(module: KernelModule) -> None:
    lock_down("integrity")
    assert "addresses shown" in X86.read_text()
    lock_down("confidentiality")
    assert_withheld(X86.read_text(), "lockdown")
    with opened() as client:
        client.attach()
        assert "# 1 threads" in (DEBUGFS / "agents").read_text()
