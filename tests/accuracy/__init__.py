# SPDX-License-Identifier: GPL-2.0-only
"""Stalls of known cause, size and time, held against what agenttune says of them."""
