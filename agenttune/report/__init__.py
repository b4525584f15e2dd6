# SPDX-License-Identifier: GPL-2.0-only
"""The same objects as text and as JSON."""
