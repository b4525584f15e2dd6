# SPDX-License-Identifier: GPL-2.0-only
"""tests/twice: one more try for what fails, and only one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TWICE = Path(__file__).parent / "twice"
# Each test counts its own tries in a file beside it.
TESTS = """
from pathlib import Path
import pytest

def tries(name):
    count = Path(__file__).with_name(name)
    count.write_text(count.read_text() + "." if count.exists() else ".")
    return len(count.read_text())

def test_good(): assert tries("good") == 1
{more}
"""
ONCE = "def test_once(): assert tries('once') == 2"
NEVER = "def test_never(): assert tries('never') == 0"
MANY = '@pytest.mark.parametrize("n", range(6))\ndef test_n(n): assert tries(f"n{n}") == 2'


@pytest.mark.parametrize(
    ("more", "code", "tries"),
    [
        ("", 0, {"good": 1}),
        (ONCE, 10, {"good": 1, "once": 2}),
        (NEVER, 1, {"good": 1, "never": 2}),
        (f"{ONCE}\n{NEVER}", 1, {"good": 1, "once": 2, "never": 2}),
        (MANY, 1, {"good": 1, **{f"n{n}": 1 for n in range(6)}}),
        ("no python", 2, {}),
    ],
    ids=["good", "once", "never", "once and never", "many", "broken"],
)
def test_what_fails_has_one_more_try(
    tmp_path: Path, more: str, code: int, tries: dict[str, int]
) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(TESTS.format(more=more))
    command = [TWICE, sys.executable, "-q", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    counts = {path.name: len(path.read_text()) for path in tmp_path.iterdir() if path.is_file()}
    assert {name: count for name, count in counts.items() if "." not in name} == tries
    assert ("Once more" in done.stdout) == (2 in tries.values())
