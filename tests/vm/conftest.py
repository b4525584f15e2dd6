# SPDX-License-Identifier: GPL-2.0-only
"""What tests that need a guest share: where they are, and the kernel's log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guest import guest_pairs, in_guest, quiet_kernel


@pytest.fixture(scope="session")
def guest_facts() -> dict[str, str]:
    """This guest: `kernel` (6.1, 6.12), `iommu` (yes, no), `accelerator` (kvm, multi, single)."""
    return guest_pairs()


@pytest.fixture(scope="session", autouse=True)
def kernel_log() -> Iterator[None]:
    """Fails the session when the guest's kernel warned, stalled or worse during it."""
    if not in_guest():
        yield
        return
    with quiet_kernel():
        yield
