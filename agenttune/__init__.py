# SPDX-License-Identifier: GPL-2.0-only
"""Finds which interrupt work delays an AI agent, moves it, proves it, and puts it back."""

__version__ = "0.1.0"
