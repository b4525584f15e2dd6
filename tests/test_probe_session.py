# SPDX-License-Identifier: GPL-2.0-only
"""A probe's intervals, its command line, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from measure_loads import PIPE_READER, agent
from probe_loads import BY_COMM

from agenttune.errors import InputError
from agenttune.measure.probe_layout import ProbeName
from agenttune.measure.probe_session import probe

TREE = Path(__file__).parent.parent
NEEDS_AGENTS = ("wakeup", "syscall", "fault", "irq-to-run")


@pytest.mark.parametrize("name", NEEDS_AGENTS)
def test_a_probe_of_agents_asks_who_they_are(name: str) -> None:
    with pytest.raises(InputError, match="none is selected"):
        list(probe(ProbeName(name), seconds=1))


@pytest.mark.parametrize("name", sorted(set(ProbeName) - set(NEEDS_AGENTS)))
def test_a_probe_of_everything_takes_no_agents(name: ProbeName) -> None:
    with pytest.raises(InputError, match="no meaning"):
        list(probe(name, BY_COMM, seconds=1))


@pytest.mark.bpf
def test_each_interval_has_its_own_samples() -> None:
    with agent(PIPE_READER, 40) as reader:
        reader.hear()
        reports = probe(ProbeName.WAKEUP, BY_COMM, seconds=60, interval=0.3, stop=lambda: False)
        counts = []
        for report in reports:
            counts.append(sum(each.histogram.count for each in report.distributions))
            assert report.interval == len(counts)
            if len(counts) == 1:
                for _ in range(41):
                    reader.poke()
            if len(counts) == 3:
                reports.close()
                break
    assert counts[0] == 0
    assert counts[1] >= 1
    assert counts[2] == 0


@pytest.mark.bpf
def test_lines_of_json_fit_their_schema() -> None:
    done = subprocess.run(
        command("irq", "--seconds", "0.6", "--interval", "0.2", "--json"),
        cwd=TREE, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    schema = json.loads((TREE / "docs/schema/probe.json").read_text())
    assert [line["probe"]["interval"] for line in lines] == list(range(1, len(lines) + 1))
    assert 3 <= len(lines) <= 4
    for line in lines:
        jsonschema.Draft202012Validator(schema).validate(line)
        assert 0 < line["probe"]["window_ns"] < 2_000_000_000


@pytest.mark.bpf
def test_an_interrupt_ends_it_with_the_last_report() -> None:
    words = command("softirq", "--seconds", "20", "--interval", "0.5")
    with subprocess.Popen(words, cwd=TREE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 0
    assert first.startswith("probe softirq, interval 1:")
    assert "\nprobe softirq, interval 2:" in rest
    assert rest.count("coverage: ") == 2


def test_the_command_line_says_what_it_takes() -> None:
    done = subprocess.run(
        command("napi"), cwd=TREE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "irq-to-run" in done.stderr


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "agenttune", "probe", *words]
