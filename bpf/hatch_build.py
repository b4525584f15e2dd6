# SPDX-License-Identifier: GPL-2.0-only
"""Hatchling hook: a wheel carries the BPF objects, for bcc their sources, and the module's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Folder of the tree: folder of the package, and what goes there. The module's Kbuild wants the
# headers of bpf/ beside it: 'agenttune module build' puts both together.
_SOURCES = {
    "bpf": ("agenttune/measure/bpf", ("*.h", "*.bpf.c")),
    "kmod": ("agenttune/kmod", ("*.c", "*.h", "uapi/*.h", "Kbuild", "Makefile", "dkms.conf")),
}


class BpfBuildHook(BuildHookInterface[Any]):
    """Runs bpf/build; the object is listed under tool.hatch.build.artifacts."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        subprocess.run([str(Path(self.root) / "bpf" / "build")], check=True)
        build_data["pure_python"] = True
        for name, (target, patterns) in _SOURCES.items():
            folder = Path(self.root) / name
            for source in (path for pattern in patterns for path in folder.glob(pattern)):
                place = f"{target}/{source.relative_to(folder)}"
                build_data["force_include"][str(source)] = place
