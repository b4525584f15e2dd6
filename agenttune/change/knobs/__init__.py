# SPDX-License-Identifier: GPL-2.0-only
"""One file per kind of knob: read, write, inverse."""
