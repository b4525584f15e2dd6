# SPDX-License-Identifier: GPL-2.0-only
"""The VM lab: runs one command in a throw-away guest with real interrupts."""
