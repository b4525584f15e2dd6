# SPDX-License-Identifier: GPL-2.0-only
"""Tree: what a missing, odd or hostile file gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agenttune.errors import HostError
from agenttune.host.capture import read_host
from agenttune.host.tree import Tree


def test_absence_is_silent(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.read("/proc/nothing") is None
    assert tree.number("/proc/nothing") is None
    assert tree.mask_hex("/proc/nothing") is None
    assert tree.names("/proc") == []
    assert tree.link("/proc/nothing") is None
    assert list(tree.lines("/proc/nothing")) == []
    assert tree.unknown() == ()


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "irq/24/x").mkdir(parents=True)
    (tmp_path / "irq/25/x").mkdir(parents=True)
    tree = Tree(tmp_path)
    assert tree.read("/irq/24/x") is tree.read("/irq/25/x") is None
    assert tree.unknown() == ("/irq/N/x: Is a directory (2 files)",)


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    tree = Tree(tmp_path)
    assert tree.read("/a") is None
    assert tree.unknown() == ("/a: Too many levels of symbolic links",)


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert Tree(tmp_path).read("/fifo") == ""
    assert list(Tree(tmp_path).lines("/fifo")) == []


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "9" * 5000, "\u0661", "0x10"])
def test_what_is_no_number_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "n").write_text(text)
    assert Tree(tmp_path).number("/n") is None


def test_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    for name in ("cpu10", "cpu2", "cpufreq", "cpu\u0661x", "cpu"):
        (tmp_path / name).touch()
    assert Tree(tmp_path).numbers("/", "cpu") == [2, 10]


def test_bytes_that_are_no_text_are_read(tmp_path: Path) -> None:
    (tmp_path / "comm").write_bytes(b"a\xff\n")
    assert Tree(tmp_path).read("/comm") == "a\ufffd"


def test_notes_are_said_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.note("x", "why")
    tree.note("x", "why")
    assert tree.unknown() == ("x: why",)


def test_only_the_root_is_live(tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to("/")
    assert Tree(Path("/")).live
    assert Tree(tmp_path / "root").live
    assert not Tree(tmp_path).live


def test_no_such_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such folder"):
        read_host(tmp_path / "absent")
