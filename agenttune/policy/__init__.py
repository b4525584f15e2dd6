# SPDX-License-Identifier: GPL-2.0-only
"""Pure: Host, Measurement and Profile to Plan."""
