# SPDX-License-Identifier: GPL-2.0-only
"""systemd .link files that set interrupt affinity."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agenttune.host.host import Writer
from agenttune.host.tree import Tree

# Earlier folders mask files of the same name in later ones (systemd.link(5)).
_FOLDERS = tuple(
    f"{base}/systemd/network" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
)
_SETTING = re.compile(r"^[ \t]*(IRQAffinity\w*[ \t]*=.*\S)[ \t]*$", re.MULTILINE)


def read_link_writers(tree: Tree) -> tuple[Writer, ...]:
    """One writer for each .link file with an IRQAffinity setting, in it or in a drop-in.

    `active`: udev applied it to an interface. None for a recording, and where udev does not tell.
    """
    found = {path: settings for path in _link_files(tree) if (settings := _settings(tree, path))}
    applied = _applied_links(tree) if found else None
    return tuple(_writer(path, settings, applied) for path, settings in found.items())


def _writer(path: str, settings: list[str], applied: Mapping[str, str] | None) -> Writer:
    users = sorted(name for name, used in (applied or {}).items() if used == path)
    detail = [path, *settings, *(f"applied to {name}" for name in users)]
    active = None if applied is None else bool(users)
    return Writer("systemd .link", active, "; ".join(detail), ("vector-affinity",))


def _link_files(tree: Tree) -> list[str]:
    files: dict[str, str] = {}
    for folder in _FOLDERS:
        for name in tree.names(folder):
            if name.endswith(".link"):
                files.setdefault(name, f"{folder}/{name}")
    return [files[name] for name in sorted(files)]


def _settings(tree: Tree, path: str) -> list[str]:
    name = path.rpartition("/")[2]
    dropins = [
        f"{folder}/{name}.d/{dropin}"
        for folder in _FOLDERS
        for dropin in tree.names(f"{folder}/{name}.d")
        if dropin.endswith(".conf")
    ]
    return [s for file in (path, *dropins) for s in _SETTING.findall(tree.read(file) or "")]


def _applied_links(tree: Tree) -> dict[str, str] | None:
    """The .link file that udev applied to each interface; None when no udev has run."""
    if not tree.live:
        return None
    try:
        import pyudev

        devices = list(pyudev.Context().list_devices(subsystem="net"))
    except (ImportError, OSError) as error:
        tree.note("which .link file each interface uses", f"libudev: {error}")
        return None
    if not any(device.is_initialized for device in devices):
        return None
    files = {device.sys_name: device.properties.get("ID_NET_LINK_FILE") for device in devices}
    return {name: path for name, path in files.items() if path}
