# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree for building a module with clang, from one that was configured for gcc.

Debian's headers carry the answers Kconfig gave for gcc, and not the Kconfig files that would give
those for clang. The few that differ are changed in a copy. Such a module shows what clang warns of;
guests load the one that gcc built, as Debian built the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# For clang 14, which Debian 12 has. None: not set.
_ANSWERS: Mapping[str, str | None] = {
    "CONFIG_CC_IS_GCC": None,
    "CONFIG_CC_IS_CLANG": "y",
    "CONFIG_GCC_VERSION": "0",
    "CONFIG_CLANG_VERSION": "140006",
    # gcc patches its own call sites (-mrecord-mcount); with clang objtool finds them.
    "CONFIG_FTRACE_MCOUNT_USE_CC": None,
    "CONFIG_FTRACE_MCOUNT_USE_OBJTOOL": "y",
    # -mfunction-return=thunk-extern and -mharden-sls=all: from clang 15 on.
    "CONFIG_RETHUNK": None,
    "CONFIG_MITIGATION_RETHUNK": None,
    "CONFIG_SLS": None,
    "CONFIG_MITIGATION_SLS": None,
    # -ftrivial-auto-var-init=zero without a second option to allow it: from clang 16 on.
    "CONFIG_CC_HAS_AUTO_VAR_INIT_ZERO_BARE": None,
    "CONFIG_CC_HAS_AUTO_VAR_INIT_ZERO_ENABLER": "y",
    # __seg_gs: Kconfig takes gcc's only (depends on CC_IS_GCC).
    "CONFIG_CC_HAS_NAMED_AS": None,
    "CONFIG_USE_X86_SEG_SUPPORT": None,
    "CONFIG_CC_IMPLICIT_FALLTHROUGH": '"-Wimplicit-fallthrough"',
}

_MAKE = "include/config/auto.conf"
_HEADER = "include/generated/autoconf.h"
_OWN_FOLDERS = (".", "include", "include/config", "include/generated")
# Without vmlinux kbuild makes no BTF, which the module of a compile test does not need.
_LEFT_OUT = "vmlinux"
# Some ten thousand empty files by which kbuild sees that an option changed.
_MARKER = re.compile(r"include/config/\w+$")


def clang_arguments() -> list[str]:
    """What make needs besides; CC by hand, because Debian's .kernelvariables sets gcc."""
    return ["LLVM=1", "CC=clang"]


def clang_tree(tree: Path, made: Path) -> Path:
    """Makes `made`, a tree of links into `tree` except for the answers. `tree` stays as it is."""
    for folder in _OWN_FOLDERS:
        (made / folder).mkdir(parents=True)
        for entry in (tree / folder).iterdir():
            name = str(entry.relative_to(tree))
            if name not in (*_OWN_FOLDERS, _LEFT_OUT) and not _MARKER.match(name):
                (made / name).symlink_to(entry.resolve())
    _answer(made / _MAKE, "{name}={value}")
    _answer(made / _HEADER, "#define {name} {value}")
    return made


def _answer(path: Path, form: str) -> None:
    header = form.startswith("#")
    pattern = r"^#define (\w+) .*$" if header else r"^(\w+)=.*$"
    kept = [
        line
        for line in path.read_text().splitlines()
        if not ((match := re.match(pattern, line)) and match[1] in _ANSWERS)
    ]
    for name, value in _ANSWERS.items():
        if value is not None:
            shown = "1" if header and value == "y" else value
            kept.append(form.format(name=name, value=shown))
    path.unlink()
    path.write_text("\n".join(kept) + "\n")
