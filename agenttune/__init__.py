# SPDX-License-Identifier: GPL-2.0-only
"""Finds which interrupt work delays an AI agent, moves it, proves it, and puts it back."""

from agenttune.attach import attach, detach
from agenttune.steps import bind, step

__all__ = ["attach", "bind", "detach", "step"]
__version__ = "0.1.0"
