# SPDX-License-Identifier: GPL-2.0-only
"""Hostile profiles: each is refused at a place, fast, without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenttune.errors import InputError
from agenttune.policy.yaml_node import MAX_BYTES, parse_yaml

# Reading any of these takes milliseconds; starting Python takes most of this.
TIME_LIMIT_S = 10

LEVELS = "\n".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a}]" for a, b in zip("abcdef", "bcdefg", strict=True)
)
LAUGHS = f"a: &a [lol,lol,lol]\n{LEVELS}\n"
MERGES = "\n".join(f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 9)}]}}" for i in range(1, 12))
MERGE_BOMB = f"l0: &l0 {{x: 1}}\n{MERGES}\n"

BOMBS = {
    "laughs": (LAUGHS, "1:4: anchors ('&name') are not allowed"),
    "merge bomb": (MERGE_BOMB, "1:5: anchors ('&name') are not allowed"),
    "merge key": ("agent:\n  <<: {pin: true}\n", "2:3: merge keys are not allowed"),
    "alias": ("agent: *x\n", "1:8: aliases ('*name') are not allowed"),
    "anchored key": ("&x agent: 1\n", "1:1: anchors ('&name') are not allowed"),
    "tag": ("agent: !!python/object:os.system [id]\n", "1:8: tags ('!name') are not allowed"),
    "tag on a key": ("!!str agent: 1\n", "1:1: tags ('!name') are not allowed"),
    "verbatim tag": ("description: !<x> y\n", "1:14: tags ('!name') are not allowed"),
    "directive": ("%YAML 1.1\n---\nagent: 1\n", "2:1: a YAML directive is not allowed"),
    "second document": ("agent: {pin: true}\n---\na: 1\n", "2:1: a second document starts here"),
    "duplicate": (
        "agent:\n  pin: true\n  pin: false\n",
        "3:3: key 'pin' was already given in line 2",
    ),
    "duplicate section": ("agent: {}\nagent: {}\n", "2:1: key 'agent' was already given"),
    "list as key": ("? [a]\n: b\n", "1:3: a key must be a word"),
    "deep flow": ("a: " + "[" * 60_000, "1:9: more than 6 levels of nesting"),
    "deep blocks": (
        "\n".join(" " * i + "a:" for i in range(300)),
        "6:6: more than 6 levels of nesting",
    ),
    "long decimal": ("softirq:\n  dev-weight: " + "9" * 60_000, "2:15: '9999"),
    "long hexadecimal": ("softirq:\n  dev-weight: 0x" + "f" * 60_000, "2:15: '0xff"),
    "long CPU": ("agent:\n  cpus: " + "9" * 60_000, "2:9: '9999"),
    "200k digits": ("softirq:\n  dev-weight: " + "9" * 200_000, "1:1: the file is larger"),
    "NUL": ("agent:\n  pin: true\0\n", "2:12: character U+0000 is not allowed"),
    "escape": ("description: \x1b[2J\n", "1:14: character U+001B is not allowed"),
    "byte order mark": ("\ufeffagent: {}\n", "1:1: character U+FEFF is not allowed"),
    "not UTF-8": (b"agent:\n  \xff: 1\n", "2:3: byte 0xff is not UTF-8"),
    "tab": ("agent:\n\tpin: true\n", "2:1: a tab is used for indentation"),
    "unclosed": ("agent: [a\n", "2:1: this is not YAML"),
    "unclosed quote": ("description: 'x\n", "2:1: this is not YAML"),
    "two colons": ("agent: pin: true\n", "1:11: this is not YAML"),
    "many quotes": ("a: '" + "''" * 30_000, "1:60005: this is not YAML"),
    "wide escape": ('description: "\\UFFFFFFFF"\n', "1:1: what follows is not YAML"),
    "wide directive": ("%YAML 1." + "9" * 5000 + "\n---\na: b\n", "1:1: what follows is not YAML"),
    "escaped escape": ('description: "\\e[2J"\n', "1:14: character U+001B is not allowed"),
    "escaped NUL": ('agent: {cpus: "cpuset:/\\0"}\n', "1:15: character U+0000 is not allowed"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_refused_at_its_place(tmp_path: Path, name: str) -> None:
    content, expected = BOMBS[name]
    path = tmp_path / "p.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code = (
        "import sys\n"
        "from agenttune.errors import InputError\n"
        "from agenttune.policy.profile_file import read_profile\n"
        "try:\n"
        "    read_profile(sys.argv[1], [])\n"
        "except InputError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"{path}:{expected}")
    assert "; " in done.stdout
    assert len(done.stdout) < 400


yaml_text = st.text(
    alphabet=st.sampled_from([*"ab:-?&*!%#|>@`'\"{}[],<~. \n\t\r0", "\\", "U", "x", "é", "\u2028"])
)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.one_of(yaml_text.map(str.encode), st.binary(max_size=60)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse_yaml("f", data)
    except InputError as error:
        where = error.message.split(": ", 1)[0].split(":")
        assert where[0] == "f"
        assert 1 <= int(where[1]) <= data.count(b"\n") + data.count(b"\r") + 2
        assert 1 <= int(where[2]) <= MAX_BYTES


def test_the_largest_file_is_read() -> None:
    text = b"description: x\n"
    full = text + b"#" * (MAX_BYTES - len(text))
    assert parse_yaml("f", full).entries[0][0].text == "description"
    with pytest.raises(InputError, match="larger than 64 KiB"):
        parse_yaml("f", full + b"#")
