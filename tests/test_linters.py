# SPDX-License-Identifier: GPL-2.0-only
"""The tree is clean under every linter; files keep their size."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parent.parent
LINE_LIMITS = {".py": 400, ".c": 600, ".h": 600, ".bpf.c": 200, ".sh": 400}


def tracked() -> list[Path]:
    """Files git tracks or would; the plain directory walk where this is no checkout."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(path for name in listing.stdout.splitlines() if (path := TREE / name).is_file())


def first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(200).decode(errors="replace")


def is_shell(path: Path) -> bool:
    return bool(re.match(r"#!.*\b(ba|da)?sh\b", first_line(path)))


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or bool(re.match(r"#!.*\bpython3?\b", first_line(path)))


def check(*command: str | Path) -> None:
    found = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    "arguments", [("mypy",), ("ruff", "check"), ("ruff", "format", "--check")], ids="-".join
)
def test_python(arguments: tuple[str, ...]) -> None:
    check(sys.executable, "-m", *arguments)


def test_extensionless_python() -> None:
    scripts = [path for path in tracked() if is_python(path) and path.suffix != ".py"]
    check(sys.executable, "-m", "ruff", "check", "--no-cache", "pyproject.toml", *scripts)


def test_shell() -> None:
    scripts = [path for path in tracked() if is_shell(path)]
    assert scripts
    assert shutil.which("shellcheck"), "shellcheck is missing: vm/setup installs it"
    check("shellcheck", "--external-sources", *scripts)


def test_licence_line() -> None:
    code = [p for p in tracked() if is_python(p) or is_shell(p) or p.suffix in {".c", ".h"}]
    missing = [
        str(path.relative_to(TREE))
        for path in code
        if "SPDX-License-Identifier: GPL-2.0-only" not in path.read_text()[:300]
    ]
    assert not missing


def test_file_sizes() -> None:
    long = []
    for path in tracked():
        suffix = ".bpf.c" if path.name.endswith(".bpf.c") else path.suffix
        limit = LINE_LIMITS.get(suffix)
        if limit and len(path.read_text().splitlines()) > limit:
            long.append(f"{path.relative_to(TREE)} is longer than {limit} lines")
    assert not long
