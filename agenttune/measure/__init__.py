# SPDX-License-Identifier: GPL-2.0-only
"""What happens on the host."""
