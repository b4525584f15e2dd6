# SPDX-License-Identifier: GPL-2.0-only
"""Profile files: find one by name, read it with the profiles it includes."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import agenttune
from agenttune.errors import InputError
from agenttune.policy.profile import Profile
from agenttune.policy.profile_schema import apply_settings, scalar
from agenttune.policy.yaml_node import MAX_BYTES, YamlNode, parse_yaml, shown

ADMIN_DIRECTORY = Path("/etc/agenttune/profiles")
MAX_INCLUDES = 8

_NAME = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """A profile that can be asked for by name, and the file that answers."""

    name: str
    path: Path


def profile_search() -> tuple[Path, ...]:
    """Where names are looked up: the administrator's directory, then the shipped one."""
    package = Path(agenttune.__file__).parent
    installed = package / "profiles"
    return (ADMIN_DIRECTORY, installed if installed.is_dir() else package.parent / "profiles")


def list_profiles(search: Sequence[Path]) -> tuple[ProfileEntry, ...]:
    """Every profile that has a name, sorted; the first directory that has the name wins."""
    found: dict[str, Path] = {}
    for directory in search:
        for path in sorted(directory.glob("*.yaml")):
            if _NAME.fullmatch(path.stem):
                found.setdefault(path.stem, path)
    return tuple(ProfileEntry(name, found[name]) for name in sorted(found))


def read_profile(name_or_path: str, search: Sequence[Path]) -> Profile:
    """Read a profile with its includes. What has a '/' or ends in '.yaml' is a file.

    A file's includes are looked up beside it first, then in `search`. Raises InputError; for what
    is wrong inside a file its message is 'FILE:LINE:COLUMN: what is wrong; what would be right'.
    """
    if "/" in name_or_path or name_or_path.endswith(".yaml"):
        path = Path(name_or_path)
        return _read(path, (path.parent, *search), ())
    if not _NAME.fullmatch(name_or_path):
        raise InputError(
            f"{shown(name_or_path)} is not a profile name",
            hint="A name has a-z, 0-9 and '-'; a file's path has a '/' or ends in '.yaml'.",
        )
    found = _find(name_or_path, search)
    if found is None:
        raise InputError(
            f"there is no profile {name_or_path} in {', '.join(map(str, search))}",
            hint=f"{_suggestion(name_or_path, search).capitalize()}.",
        )
    return _read(found, search, ())


def _read(path: Path, search: Sequence[Path], chain: tuple[Path, ...]) -> Profile:
    """`chain` holds the files that led here by include, outermost first."""
    document = parse_yaml(str(path), _read_bytes(path))
    base = Profile(name=path.stem, description="")
    for key, node in document.entries:
        if key.text == "include":
            included = _included(node, search, (*chain, path))
            base = replace(_read(included, search, (*chain, path)), name=path.stem, description="")
    return apply_settings(base, document)


def _included(node: YamlNode, search: Sequence[Path], chain: tuple[Path, ...]) -> Path:
    right = "write one profile name of a-z, 0-9 and '-'"
    name = scalar(node, right)
    if not _NAME.fullmatch(name):
        raise node.mark.error(f"{shown(name)} is not a profile name", right)
    path = _find(name, search)
    if path is None:
        where = ", ".join(map(str, search))
        raise node.mark.error(f"no profile '{name}' in {where}", _suggestion(name, search))
    if path.resolve() in [file.resolve() for file in chain]:
        circle = " -> ".join([file.stem for file in chain] + [name])
        raise node.mark.error(f"the include goes in a circle: {circle}", "remove one include")
    if len(chain) >= MAX_INCLUDES:
        raise node.mark.error(f"more than {MAX_INCLUDES} files deep", "include fewer profiles")
    return path


def _find(name: str, search: Sequence[Path]) -> Path | None:
    paths = (directory / f"{name}.yaml" for directory in search)
    return next((path for path in paths if path.is_file()), None)


def _suggestion(name: str, search: Sequence[Path]) -> str:
    names = [entry.name for entry in list_profiles(search)]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"the closest is {close[0]}"
    return f"there are {', '.join(names)}" if names else "there are no profiles there"


def _read_bytes(path: Path) -> bytes:
    if "\0" in str(path):
        raise InputError(f"the profile path {shown(str(path))} has a NUL in it")
    try:
        # O_NONBLOCK: a FIFO must not hang the open.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path} is not a regular file")
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"profile {path} cannot be read: {error.strerror}") from None
