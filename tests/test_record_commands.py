# SPDX-License-Identifier: GPL-2.0-only
"""The verbs on single steps, from the command line to what they print and write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from traces import US, holder, step, trace, wait

from agenttune import __main__, cli, record_commands
from agenttune.measure.record_file import write_trace
from agenttune.measure.trace import Thief

TREE = Path(__file__).parent.parent
HELD = holder("ksoftirqd/3", 9_200 * US, tid=31, softirq_thief=Thief(45, None, "NET_RX"))
SLOW = step(12_310 * US, [wait(2_300 * US, 11_700 * US, waking_ns=2_400 * US, holder=HELD)])
USUAL = tuple(step((2_400 + n) * US, id=n) for n in range(1, 101))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "run.trace"
    write_trace(path, trace([SLOW, *USUAL], boot_id="another"))
    return path


def run(*words: object) -> int:
    return int(__main__.main([str(word) for word in words]))


def test_explain_a_record(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", record) == 0
    out = capsys.readouterr().out
    assert out.startswith("step 4711 (search) took 12.3 ms")
    assert "planned changes can be told only in the boot that it was recorded in" in out


def test_explain_gives_the_same_answer_twice(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("explain", record, "--slowest", 3)
    first = capsys.readouterr().out
    run("explain", record, "--slowest", 3)
    assert capsys.readouterr().out == first
    assert first.count(") took ") == 3


def test_explain_as_json(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", record, "--step", "70:4711", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "agenttune.explanations/1"
    schema = json.loads((TREE / "docs/schema/explanations.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(found)
    (only_one,) = found["explanations"]
    assert only_one["culprit"]["cause"] == "ksoftirqd"
    assert sum(each["ns"] for each in only_one["contributors"]) == 12_310 * US


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "/nonexistent"], "No such file"),
        (["explain", "{record}", "--step", "5000"], "no step 5000"),
        (["explain", "{record}", "--profile", "nope"], "nope"),
        (["export", "{record}", "--svg", "{record}/x"], "cannot be written"),
        (["explain", "{record}", "--slowest", "0"], "not a count from 1 to 100000"),
        (["explain", "{record}", "--slowest", "2", "--step", "1"], "not allowed with"),
        (["export", "{record}"], "one of the arguments --perfetto --svg is required"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str], message: str, record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(word.format(record=record) for word in words)) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


def test_exports(record: Path, tmp_path: Path) -> None:
    svg, perfetto = tmp_path / "step.svg", tmp_path / "steps.json"
    assert run("export", record, "--svg", svg) == 0
    assert "step 4711 (search)" in svg.read_text()
    assert run("export", record, "--perfetto", perfetto, "--step", 4711) == 0
    names = [each["name"] for each in json.loads(perfetto.read_text())["traceEvents"]]
    assert sum(name.startswith("step ") for name in names) == 1


def test_an_export_of_many_says_that_it_left_some_out(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "steps.json"
    assert run("export", record, "--perfetto", out, "--slowest", 3) == 0
    assert "only the 3 slowest steps are exported" in capsys.readouterr().err
    names = [each["name"] for each in json.loads(out.read_text())["traceEvents"]]
    assert sum(name.startswith("step ") for name in names) == 3
    assert run("export", record, "--perfetto", out) == 0
    assert not capsys.readouterr().err


def test_a_record_without_steps_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trace(tmp_path / "empty", trace())
    assert run("export", tmp_path / "empty", "--svg", tmp_path / "x.svg") == 1
    assert "holds no steps" in capsys.readouterr().err
    assert run("explain", tmp_path / "empty") == 0


def test_without_the_default_profile_all_but_the_plan_is_told(
    record: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_commands, "profile_search", tuple)
    assert run("explain", record) == 0
    assert "; no plan can be told: " in capsys.readouterr().out
    assert run("explain", record, "--profile", "agent-latency") == 1


def test_recording_options_are_those_of_steps() -> None:
    args = cli.parse(["explain", "--agent", "comm:a", "--seconds", "2", "--syscalls"])
    assert (args.file, args.seconds, args.syscalls) == (None, 2.0, True)


@pytest.mark.bpf
def test_explain_records_first_without_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    """Live: whatever runs here, the verb loads the probes and ends with an explanation."""
    assert run("explain", "--seconds", "0.5") == 0
    printed = capsys.readouterr()
    assert "recording steps for 0.5 s" in printed.err
    assert re.match(r"no steps were recorded\n|step \d+ ", printed.out)
