# SPDX-License-Identifier: GPL-2.0-only
"""The scene of the demo: an agent whose tool calls share a CPU with a flood's interrupts."""
