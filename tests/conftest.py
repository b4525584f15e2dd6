# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures that several test files share."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parent / "data/hosts"


@pytest.fixture(scope="session")
def recorded_hosts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The root of each recorded host, by the name of its archive's only folder."""
    target = tmp_path_factory.mktemp("hosts")
    for archive in sorted(RECORDINGS.glob("*.tar.*")):
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    return {folder.name: folder for folder in sorted(target.iterdir())}
