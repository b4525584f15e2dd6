# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures that several test files share."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

RECORDINGS = Path(__file__).parent / "data/hosts"


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
