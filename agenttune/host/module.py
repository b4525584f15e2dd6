# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module agent_latency on this host: loaded, loadable, or what stands in the way."""

from __future__ import annotations

from pathlib import Path

from agenttune.host.host import KernelModule
from agenttune.host.modinfo import Modinfo, read_modinfo
from agenttune.host.tree import Tree

MODULE = "agent_latency"
DEVICE = "/dev/agent_latency"
SYSFS = f"/sys/module/{MODULE}"
SETTINGS = f"/proc/sys/kernel/{MODULE}"
DEBUGFS = f"/sys/kernel/debug/{MODULE}"
BUILDS = "/var/lib/agenttune/module"
# What an own build is looked for before: where DKMS and 'make modules_install' put theirs.
_INSTALLED = ("updates/dkms", "updates", "extra")
_SUFFIXES = (".ko", ".ko.xz")
_PACKAGES = {
    "debian": "linux-headers-{release}",
    "fedora": "kernel-devel-{release}",
    "rhel": "kernel-devel-{release}",
    "suse": "kernel-default-devel",
    "arch": "linux-headers",
}


def read_module(tree: Tree, release: str | None) -> KernelModule | None:
    """None where a recording does not tell."""
    if not tree.exists("/sys/module"):
        return None
    settings = {name: tree.read(f"{SETTINGS}/{name}") or "" for name in tree.names(SETTINGS)}
    if is_loaded(tree):
        return KernelModule(loaded=loaded_name(tree), settings=settings)
    file = find_module(tree, release or "")
    what, remedy = _obstacle(tree, release or "", file)
    return KernelModule(file=None if what else file, obstacle=what, remedy=remedy)


def is_loaded(tree: Tree) -> bool:
    """A module built into the kernel has a folder too, but no initstate."""
    return tree.exists(f"{SYSFS}/initstate")


def loaded_name(tree: Tree) -> str:
    """The version that runs, as far as the module tells."""
    return tree.read(f"{SYSFS}/version") or "of unknown version"


def find_module(tree: Tree, release: str) -> str | None:
    """The file to load into kernel `release`, an own build first."""
    folders = (f"{BUILDS}/{release}", *(f"/lib/modules/{release}/{f}" for f in _INSTALLED))
    files = (f"{folder}/{MODULE}{suffix}" for folder in folders for suffix in _SUFFIXES)
    return next((file for file in files if tree.exists(file)), None)


def module_info(tree: Tree, file: str) -> Modinfo | None:
    return read_modinfo(Path(tree.path(file)))


def unsigned_refusal(tree: Tree) -> str:
    """Why this kernel takes no unsigned module; empty when it does."""
    lockdown = tree.read("/sys/kernel/security/lockdown") or ""
    if "[integrity]" in lockdown or "[confidentiality]" in lockdown:
        return "the kernel is locked down (/sys/kernel/security/lockdown)"
    if tree.read("/sys/module/module/parameters/sig_enforce") == "Y":
        return "the kernel takes signed modules only (module.sig_enforce)"
    return ""


HOW_TO_SIGN = (
    "Let DKMS sign it with an enrolled key ('agenttune module build --dkms-tree DIR'), or sign the "
    "file with scripts/sign-file of the kernel's headers and enrol the key with "
    "'mokutil --import'."
)


def headers_remedy(tree: Tree, release: str) -> str:
    """How to get the headers of a kernel, in this distribution's words."""
    text = tree.read("/etc/os-release") or ""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    facts = {key: value.strip('"') for key, value in lines}
    families = f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}".split()
    package = next((_PACKAGES[family] for family in families if family in _PACKAGES), None)
    if package is None:
        return f"Install the headers of kernel {release}."
    return f"Install the package {package.format(release=release)}."


def _obstacle(tree: Tree, release: str, file: str | None) -> tuple[str, str]:
    """What keeps the module out, and what helps; both empty when it can be loaded."""
    if tree.read("/proc/sys/kernel/modules_disabled") == "1":
        return (
            "loading modules is switched off until the next boot (kernel.modules_disabled)",
            "Boot again without that setting.",
        )
    if file is None:
        return f"it is not built for kernel {release}", _how_to_build(tree, release)
    found = module_info(tree, file)
    if found is None:
        return f"{file} cannot be read as a module", "Run as root, or build it again."
    if found.release != release:
        return (
            f"{file} is for kernel {found.release}, and this is {release}",
            "Run 'agenttune module build'.",
        )
    refusal = "" if found.signed else unsigned_refusal(tree)
    return (f"{refusal}, and {file} is not signed", HOW_TO_SIGN) if refusal else ("", "")


def _how_to_build(tree: Tree, release: str) -> str:
    build = "Run 'agenttune module build'."
    if tree.exists(f"/lib/modules/{release}/build/Makefile"):
        return build
    return f"{headers_remedy(tree, release)} Then: {build[0].lower()}{build[1:]}"
