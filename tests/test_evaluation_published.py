# SPDX-License-Identifier: GPL-2.0-only
"""docs/evaluation: the published run fits its schema, and its reading says what it measured."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from agenttune import document
from agenttune.evaluate.comparison import BASELINE
from agenttune.evaluate.result import Evaluation
from agenttune.report.evaluation import credit, headline, ratio_cell

DOCS = Path(__file__).parent.parent / "docs"
FOLDER = DOCS / "evaluation"


@pytest.fixture(scope="module")
def published() -> Evaluation:
    return document.load("evaluation", Evaluation, FOLDER / "results.json")


def test_the_results_fit_the_schema() -> None:
    schema = json.loads((DOCS / "schema/evaluation.json").read_text())
    results = json.loads((FOLDER / "results.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(results)


def test_the_picture_is_that_of_the_results(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "results.json", tmp_path)
    subprocess.run([sys.executable, FOLDER / "picture", tmp_path / "results.json"], check=True)
    assert (tmp_path / "ratios.svg").read_text() == (FOLDER / "ratios.svg").read_text(), (
        "run docs/evaluation/picture docs/evaluation/results.json"
    )


def test_the_reading_prints_the_measured_ratios(published: Evaluation) -> None:
    text = (FOLDER / "reading.md").read_text()
    rows = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if (cells := [cell.strip(" `") for cell in line.strip("|").split("|")])[1:]
    }
    for arm in published.ran:
        if arm.name == BASELINE:
            continue
        by_quantile = {each.quantile: ratio_cell(each) for each in arm.comparisons}
        assert rows[arm.name][:2] == [by_quantile["p50"], by_quantile["p90"]], arm.name
    said = re.sub(r"\s+", " ", text)
    for line in (*headline(published), *credit(published)):
        assert line in said


def test_the_report_is_that_of_the_results(published: Evaluation) -> None:
    report = html.unescape((FOLDER / "report.html").read_text())
    assert headline(published)[0].split(": ", 1)[1] in report
    assert all(line in report for line in credit(published))
