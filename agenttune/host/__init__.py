# SPDX-License-Identifier: GPL-2.0-only
"""What this machine is: read-only, from a live or a recorded root."""
