# SPDX-License-Identifier: GPL-2.0-only
"""Choice: one step by id, or the slowest; candidates for an id that does not do."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from traces import MS, step

from agenttune.errors import InputError
from agenttune.measure.choice import StepId, only, slowest
from agenttune.measure.trace import Step


def ids(found: Iterable[Step]) -> list[tuple[int, int]]:
    return [(each.tgid, each.id) for each in found]


SEVERAL = (
    step(1 * MS, id=1, tgid=70),
    step(3 * MS, id=2, tgid=70),
    step(2 * MS, id=1, tgid=80),
    step(9 * MS, id=2, tgid=70),
)


def test_the_slowest_come_first() -> None:
    assert [each.duration_ns for each in slowest(2)(SEVERAL)] == [9 * MS, 3 * MS]


def test_one_step_by_id() -> None:
    (found,) = only(StepId(2))(SEVERAL)
    assert found.duration_ns == 9 * MS
    assert ids(only(StepId(1, 80))(SEVERAL)) == [(80, 1)]


def test_an_ambiguous_id_lists_candidates() -> None:
    with pytest.raises(InputError, match="2 processes have a step 1") as caught:
        only(StepId(1))(SEVERAL)
    assert "70:1 (search, 1.00 ms), 80:1 (search, 2.00 ms)" in caught.value.hint


def test_an_absent_id_lists_the_slowest() -> None:
    with pytest.raises(InputError, match="no step 5 in this record") as caught:
        only(StepId(5))(SEVERAL)
    assert caught.value.hint.startswith("Its slowest steps are 70:2 (search, 9.00 ms), 70:2")


@pytest.mark.parametrize("text", ["", "x", "0", "1:", ":1", "-1", "1:2:3", "9" * 30, "٣"])
def test_bad_step_ids(text: str) -> None:
    with pytest.raises(InputError, match="is not a step"):
        StepId.parse(text)


def test_step_ids_read_back() -> None:
    assert [str(StepId.parse(text)) for text in ("7", "70:7")] == ["7", "70:7"]
