# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module's build, which was made outside of the guest, for agenttune inside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from agenttune.host.module import BUILDS
from vm.lab.cache import Cache, cache_root
from vm.lab.module import NAME, built_module


def install_build(kernel: str) -> None:
    """Puts it where agenttune looks for one; the guest forgets it. Raises LabError."""
    place = Path(BUILDS) / os.uname().release / f"{NAME}.ko"
    place.parent.mkdir(parents=True)
    shutil.copyfile(built_module(Cache(cache_root()), kernel), place)
    place.chmod(0o644)
