# SPDX-License-Identifier: GPL-2.0-only
"""Evaluate: is this host's agent faster, by how much, and which change did it."""
