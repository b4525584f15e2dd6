# SPDX-License-Identifier: GPL-2.0-only
"""Runs of whole evaluations that show whether the method holds its level."""
