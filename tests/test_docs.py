# SPDX-License-Identifier: GPL-2.0-only
"""docs/ is what the code generates; real --json output fits the documented schemas."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from agenttune import cli
from agenttune.policy.profile_file import list_profiles

TREE = Path(__file__).parent.parent
DOCS = TREE / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("generate", str(DOCS / "generate"))
    spec = importlib.util.spec_from_loader("generate", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def files(folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (DOCS / folder).iterdir()}


def test_manual_pages_are_current(generate: ModuleType) -> None:
    assert files("man") == generate.manual_pages(), "run docs/generate"


def test_schemas_are_current(generate: ModuleType) -> None:
    assert files("schema") == generate.schemas(), "run docs/generate"


def test_every_verb_has_a_page() -> None:
    assert {f"agenttune-{verb}.8" for verb in cli._VERBS} | {"agenttune.8"} == set(files("man"))


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("host", ["show"]),
        ("profiles", ["profile", "list"]),
        ("profile", ["profile", "show", "agent-latency-strict"]),
        ("plan", ["plan", "observe-only"]),
        pytest.param(
            "measurement", ["measure", "--seconds", "0.3", "--agent", "comm:python"],
            marks=pytest.mark.bpf,
        ),
        ("status", ["status", "--state-dir", "{tmp}"]),
        ("reverted", ["revert", "--dry-run", "--state-dir", "{tmp}"]),
        ("applied", ["apply", "observe-only", "--dry-run"]),
    ],
)  # fmt: skip
def test_output_fits_its_schema(kind: str, command: list[str], tmp_path: Path) -> None:
    words = [word.format(tmp=tmp_path / "state") for word in command]
    done = agenttune(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == f"agenttune.{kind}/1"
    schema = json.loads((DOCS / "schema" / f"{kind}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(found)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_that_knows_the_verbs(shell: str) -> None:
    done = agenttune("completion", shell)
    assert all(verb in done.stdout for verb in cli._VERBS)
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_readme_names_every_shipped_profile() -> None:
    readme = (TREE / "README.md").read_text()
    names = [entry.name for entry in list_profiles([TREE / "profiles"])]
    assert names
    assert all(name in readme for name in names)


def agenttune(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agenttune", *words],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
