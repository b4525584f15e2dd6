# SPDX-License-Identifier: GPL-2.0-only
"""Documents: what is written reads back equal, and nothing else is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from agenttune import document
from agenttune.errors import InputError
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import Cpu, Host, Movability, Topology, Vector, VectorKey
from agenttune.policy.plan import Change, Knob, KnobKind, Plan

KEY = VectorKey("0000:00:03.0", 1, "virtio1-input.0")
PLAN = Plan(
    profile="agent-latency",
    boot_id=None,
    agent_cpus=CpuMask.of([3]),
    avoided_cpus=CpuMask.of([3, 1000]),
    housekeeping_cpus=CpuMask.of([0, 1, 2]),
    changes=(
        Change(Knob(KnobKind.VECTOR_AFFINITY, str(KEY)), "3", "1", "vector 45", "why", ("a", "b")),
    ),
)
HOST = Host(
    root="/",
    live=False,
    kernel="6.12",
    boot_id=None,
    topology=Topology((Cpu(0, True, siblings=CpuMask.of([0])),), CpuMask.of([0])),
    vectors=(Vector(45, KEY, Movability.MOVABLE, counts={0: 7, 511: 1}),),
)


@pytest.mark.parametrize(("kind", "value"), [("plan", PLAN), ("host", HOST)])
def test_round_trip(kind: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(document.encode(kind, value))
    assert document.load(kind, type(value), path) == value


def test_other_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"x.json: holds 'agenttune.host/1', not"):
        document.decode("plan", Plan, document.encode("host", HOST), "x.json")


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_truncation_is_refused(cut: int) -> None:
    with pytest.raises(InputError, match=r"^x.json: "):
        document.decode("plan", Plan, document.encode("plan", PLAN)[:cut], "x.json")


def test_damaged_mask_names_its_place() -> None:
    data = document.encode("plan", PLAN).replace(b'"3,1000"', b'"3,x"')
    with pytest.raises(InputError, match=r"x.json: .*avoided_cpus"):
        document.decode("plan", Plan, data, "x.json")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        document.load("plan", Plan, tmp_path / "none.json")
