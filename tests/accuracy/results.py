# SPDX-License-Identifier: GPL-2.0-only
"""Results: a file of sections, one for each machine."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, section: str) -> None:
    """Puts the section in place of the one with its heading, or at the end."""
    heading = section.splitlines()[0]
    head, *sections = path.read_text().split("\n## ") if path.exists() else [""]
    others = [f"## {text.strip()}" for text in sections]
    kept = [text for text in others if text.splitlines()[0] != heading]
    path.write_text("\n\n".join([head.strip(), *kept, section]).strip() + "\n")
