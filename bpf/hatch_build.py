# SPDX-License-Identifier: GPL-2.0-only
"""Hatchling hook: a wheel carries the BPF objects, and for bcc their sources."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BpfBuildHook(BuildHookInterface[Any]):
    """Runs bpf/build; the object is listed under tool.hatch.build.artifacts."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        subprocess.run([str(Path(self.root) / "bpf" / "build")], check=True)
        build_data["pure_python"] = True
        for pattern in ("*.h", "*.bpf.c"):
            for source in (Path(self.root) / "bpf").glob(pattern):
                build_data["force_include"][str(source)] = f"agenttune/measure/bpf/{source.name}"
