# SPDX-License-Identifier: GPL-2.0-only
"""The kernels in the cache, by the names that vm/run and vm/build-module know them by."""

from __future__ import annotations

# Debian's, which a guest can boot. 6.12-debug is built here: vm/build-debug-kernel.
GUESTS = ("6.1", "6.12", "6.12-rt", "6.12-debug")
# Flavours of which only the headers are there: the module is built for them, but not run.
HEADERS_ONLY = ("6.1-cloud", "6.1-rt", "6.12-cloud")
DEBUG = "6.12-debug"
# The flavours that Debian ships, each of which the module has to build for.
SHIPPED = (*(name for name in GUESTS if name != DEBUG), *HEADERS_ONLY)


def setup_command(name: str) -> str:
    """What puts kernel `name` into the cache."""
    return "vm/build-debug-kernel" if name == DEBUG else "vm/setup --lab"
