# SPDX-License-Identifier: GPL-2.0-only
"""Record files: what is written comes back; whatever else is there is refused."""

from __future__ import annotations

import heapq
import os
import random
import re
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import traces
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import MS, holder, step, trace, wait

from agenttune.errors import AgenttuneError, InputError
from agenttune.measure import record_file
from agenttune.measure.record_file import check_target, read_trace, write_trace
from agenttune.measure.trace import Trace

SMALL = trace(
    [step(20 * MS, [wait(MS, 9 * MS, holder=holder("hog", 8 * MS))], id=n) for n in (1, 2)]
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "run.trace"
    write_trace(path, SMALL)
    return path


@settings(max_examples=50)
@given(made=traces.traces())
def test_round_trip(made: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("record") / "run.trace"
    write_trace(path, made)
    assert read_trace(path) == made


def test_every_line_says_what_it_is(record: Path) -> None:
    lines = [msgspec.json.decode(line) for line in record.read_bytes().splitlines()]
    assert lines[0]["schema"] == "agenttune.trace/1"
    assert lines[0]["buckets"][0] == "run"
    assert [set(line) for line in lines[1:]] == [{"step"}, {"step"}, {"seal"}]


def test_the_same_trace_gives_the_same_bytes(record: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_trace(again, read_trace(record))
    assert again.read_bytes() == record.read_bytes()


def test_truncation_at_every_byte_is_refused(record: Path) -> None:
    whole = record.read_bytes()
    lines = {index for index, byte in enumerate(whole) if byte == ord("\n")}
    near = {index + off for index in lines for off in (0, 1, 2)} - {
        len(whole) + off for off in (0, 1)
    }
    for size in sorted(near | set(range(0, len(whole), 37))):
        record.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"truncated|first line|no schema") as caught:
            read_trace(record)
        assert str(record) in caught.value.message
        assert caught.value.hint


def test_every_kind_of_bit_flip_is_refused(record: Path) -> None:
    whole = record.read_bytes()
    chosen = random.Random(1).sample(range(len(whole) * 8), 600)
    for bit in [*chosen, *range((len(whole) - 100) * 8, len(whole) * 8)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        record.write_bytes(damaged)
        with pytest.raises(InputError):
            read_trace(record)


def test_a_changed_figure_is_damage(record: Path) -> None:
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"tid":77', b'"tid":78', 1))
    with pytest.raises(InputError, match=r"damaged: its 3 lines do not match"):
        read_trace(record)


@pytest.mark.parametrize("change", ["swap", "drop", "repeat", "append"])
def test_other_lines_are_refused(record: Path, change: str) -> None:
    head, one, two, seal = record.read_bytes().splitlines(keepends=True)
    changed = {
        "swap": (head, two, one, seal),
        "drop": (head, one, seal),
        "repeat": (head, one, one, two, seal),
        "append": (head, one, two, seal, one),
    }
    record.write_bytes(b"".join(changed[change]))
    with pytest.raises(InputError, match=r"damaged|truncated"):
        read_trace(record)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b"agenttune.trace/1",
            b"agenttune.trace/2",
            "holds 'agenttune.trace/2'; this version reads",
        ),
        (b"agenttune.trace/1", b"agenttune.plan/1", "holds 'agenttune.plan/1'"),
        (b'"schema"', b'"schemo"', "holds 'no schema name'"),
        (b'["run"', b'["ran"', "buckets are not those"),
    ],
)
def test_a_foreign_version_is_refused(record: Path, old: bytes, new: bytes, message: str) -> None:
    """Even one whose seal is right."""
    lines = record.read_bytes().replace(old, new, 1).splitlines(keepends=True)[:-1]
    digest = record_file.hashlib.sha256(b"".join(lines)).hexdigest()
    record.write_bytes(b"".join([*lines, record_file._seal(2, digest)]))
    with pytest.raises(InputError, match=message) as caught:
        read_trace(record)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\0" * 5000, b"[1]\n", b"\xff\xfe{}\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"first line|no schema"):
        read_trace(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "absent", Path("/dev/null")):
        with pytest.raises(InputError, match=path.name):
            read_trace(path)


def test_only_regular_files_are_overwritten(tmp_path: Path, record: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    link = tmp_path / "link"
    link.symlink_to(record)
    for path in (tmp_path / "fifo", link, tmp_path):
        with pytest.raises(InputError, match="left alone"):
            write_trace(path, SMALL)
    assert link.is_symlink()
    write_trace(record, trace())
    assert read_trace(record).steps == ()


def test_a_failed_write_leaves_the_old_file(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = record.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_file.os, "fsync", full)
    with pytest.raises(AgenttuneError, match="No space left"):
        write_trace(record, trace())
    assert record.read_bytes() == before
    assert list(record.parent.iterdir()) == [record]


def test_a_missing_folder_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(AgenttuneError, match=r"absent.* cannot be written: No such file"):
        write_trace(tmp_path / "absent" / "x", SMALL)


def test_many_steps_are_read_without_holding_them(tmp_path: Path) -> None:
    """Choosing the slowest of many takes memory for these only."""
    path = tmp_path / "many"
    held = holder("hog", 8 * MS)
    write_trace(
        path,
        trace(step((20 + n) * MS, [wait(MS, 9 * MS, holder=held)], id=n) for n in range(1, 3001)),
    )
    tracemalloc.start()
    found = read_trace(path, lambda steps: heapq.nlargest(3, steps, key=lambda s: s.duration_ns))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.id for each in found.steps] == [3000, 2999, 2998]
    assert found.coverage.kept == 3000
    assert peak < 1 << 20


@given(st.text(max_size=15))
@settings(max_examples=25)
def test_a_comm_may_hold_anything(comm: str) -> None:
    made = step(MS, comm=comm)
    line = msgspec.json.encode(record_file._StepLine(made))
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=record_file._StepLine).step == made


def test_a_target_is_refused_before_the_recording(tmp_path: Path) -> None:
    check_target(tmp_path / "new")
    (tmp_path / "old").write_text("x")
    check_target(tmp_path / "old")
    for target in (tmp_path / "absent/file", tmp_path, tmp_path / "old/file"):
        with pytest.raises(InputError, match=re.escape(str(target))):
            check_target(target)
