# SPDX-License-Identifier: GPL-2.0-only
"""The module loads and unloads, and says who it is."""

from __future__ import annotations

import subprocess

import pytest
from loading import KernelModule

pytestmark = [pytest.mark.guest, pytest.mark.kmod]


def test_it_is_loaded(module: KernelModule) -> None:
    listed = subprocess.run(["lsmod"], capture_output=True, text=True, check=True).stdout
    assert "\nagent_latency " in listed
    assert module.users == 0


def test_it_goes_and_comes_back(module: KernelModule) -> None:
    with module.away():
        assert not module.loaded
    assert module.loaded


def test_an_unknown_parameter_changes_nothing(module: KernelModule) -> None:
    with module.away():
        module.load(no_such_parameter=1)
        assert module.loaded
    assert module.loaded
