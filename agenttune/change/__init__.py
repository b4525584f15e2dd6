# SPDX-License-Identifier: GPL-2.0-only
"""The only code that writes to the host."""
