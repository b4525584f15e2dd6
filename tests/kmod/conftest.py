# SPDX-License-Identifier: GPL-2.0-only
"""The module, loaded once for all its tests, and the kernel's log after each of them.

A test file here is marked `pytestmark = [pytest.mark.guest, pytest.mark.kmod]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from debug_kernel import forget_leaks, found_leaks, lock_checks_on
from guest import guest_pairs, in_guest, quiet_kernel
from loading import KernelModule, module_of


@pytest.fixture(scope="session")
def guest_facts() -> dict[str, str]:
    """This guest: `kernel` (6.1, 6.12, 6.12-rt, 6.12-debug), `iommu`, `accelerator`."""
    return guest_pairs()


@pytest.fixture(autouse=True)
def kernel_log() -> Iterator[None]:
    """Fails a test in which the guest's kernel warned, stalled or worse."""
    if not in_guest():
        yield
        return
    with quiet_kernel():
        yield


@pytest.fixture(scope="session")
def module(guest_facts: dict[str, str]) -> Iterator[KernelModule]:
    """The module, loaded. At the end of the session it goes, and must leave nothing behind."""
    module = module_of(guest_facts["kernel"])
    forget_leaks()
    with quiet_kernel():
        module.load()
    yield module
    with quiet_kernel():
        if module.loaded:
            module.unload()
        leaks = found_leaks()
    assert not leaks, f"kmemleak after the module was unloaded:\n{leaks}"
    assert lock_checks_on(), "lockdep turned itself off during the tests"
    assert not Path("/dev/agent_latency").exists()
