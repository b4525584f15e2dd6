# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures that several test files share."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest
from change_host import FakeKernel, fast_directory, make_host, make_plan, plan_of
from compiled import Compiled
from engines import ENGINES
from guest import HOW_TO_RUN, in_guest

from agenttune.errors import HostError
from agenttune.measure import bcc_compiler
from agenttune.policy.plan import KnobKind, Plan

RECORDINGS = Path(__file__).parent / "data/hosts"
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves tests that need a guest out where there is none; the next hook says so."""
    if in_guest():
        return
    left_out: dict[str, list[pytest.Item]] = {mark: [] for mark in HOW_TO_RUN}
    kept = []
    for item in items:
        mark = next((name for name in HOW_TO_RUN if item.get_closest_marker(name)), None)
        (left_out[mark] if mark else kept).append(item)
    config.stash[_LEFT_OUT] = {mark: len(found) for mark, found in left_out.items()}
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for found in left_out.values() for item in found])
        items[:] = kept


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """The lines about the tests that need a guest."""
    return [
        f"left out {count} tests that need a guest; they run with: {HOW_TO_RUN[mark]}"
        for mark, count in config.stash.get(_LEFT_OUT, {}).items()
        if count
    ]


@pytest.fixture(scope="session")
def recorded_hosts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The root of each recorded host, by the name of its archive's only folder."""
    target = tmp_path_factory.mktemp("hosts")
    for archive in sorted(RECORDINGS.glob("*.tar.*")):
        with tarfile.open(archive) as tar:
            tar.extractall(target, members=harmless_members(tar))
    return {folder.name: folder for folder in sorted(target.iterdir())}


def harmless_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, owned by the caller; one that leads out of the target is an error.

    extractall(filter="data") does this, but Debian 12's Python 3.11.2 is without it.
    """
    for member in tar:
        end = PurePosixPath(member.name)
        if member.issym():
            end = end.parent / member.linkname
        normal = os.path.normpath(end)
        known_kind = member.isfile() or member.isdir() or member.issym()
        if not known_kind or end.is_absolute() or normal.split("/")[0] == "..":
            raise ValueError(f"{tar.name}: {member.name} leads out of the archive")
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        yield member


@pytest.fixture
def place() -> Iterator[Path]:
    with fast_directory() as directory:
        yield directory


@pytest.fixture
def kernel(place: Path) -> FakeKernel:
    return make_host(place / "root")


@pytest.fixture
def state(place: Path) -> Path:
    return place / "state"


@pytest.fixture
def plan(kernel: FakeKernel) -> Plan:
    return plan_of(make_plan(kernel.root), KnobKind.VECTOR_AFFINITY, KnobKind.SYSCTL)


@pytest.fixture(scope="session")
def compiled_once() -> Iterator[None]:
    """Compiles each BPF source with bcc once in this session; in guests, once for several runs."""
    out = os.environ.get("AGENTTUNE_OUT") if in_guest() else None
    compiled = Compiled(Path(out) if out else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bcc_compiler, "compile_programs", compiled.programs)
        yield


@pytest.fixture(scope="session")
def bcc_here(compiled_once: None) -> None:
    """For tests that need bcc with the running kernel's headers."""
    try:
        bcc_compiler.import_bcc()
    except HostError as error:
        pytest.skip(error.message)


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    name = str(request.param)
    if name == "bcc":
        request.getfixturevalue("bcc_here")
    return name
