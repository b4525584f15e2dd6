# SPDX-License-Identifier: GPL-2.0-only
"""Selectors and their refusals."""

from __future__ import annotations

import pytest

from agenttune.errors import InputError
from agenttune.host.selector import Selector, SelectorKind


@pytest.mark.parametrize(
    "text", ["comm:agent", "pid:42", "cgroup:/a.slice/b", "cgroup:/", "unit:agent.service"]
)
def test_a_selector_prints_as_it_was_written(text: str) -> None:
    assert str(Selector.parse(text)) == text


def test_a_comm_may_hold_colons() -> None:
    assert Selector.parse("comm:a:b") == Selector(SelectorKind.COMM, "a:b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("agent", "comm:"),
        ("name:agent", "comm:"),
        ("comm:", "nothing after"),
        ("comm:a\0b", "nothing after"),
        ("comm:exactly16bytes__", "15 bytes"),
        ("comm:ééééééééé", "15 bytes"),
        ("pid:0", "process id"),
        ("pid:-1", "process id"),
        ("pid:12345678", "process id"),
        ("pid:" + "9" * 5000, "process id"),
        ("pid:\u0661", "process id"),
        ("cgroup:a/b", "absolute"),
        ("cgroup:/a/../b", "absolute"),
        ("unit:agent", "unit name"),
        ("unit:a/b.service", "unit name"),
    ],
)
def test_a_bad_selector_says_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        Selector.parse(text)
    assert told in caught.value.message
    assert len(caught.value.message) < 200


def test_a_comm_of_fifteen_bytes_fits() -> None:
    assert Selector.parse("comm:exactly15bytes_").value == "exactly15bytes_"
