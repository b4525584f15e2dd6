# SPDX-License-Identifier: GPL-2.0-only
"""Both engines, as parameters of a test."""

from __future__ import annotations

import pytest

# Beside the tests that hold it against libbpf (test_engines.py and its like), bcc takes minutes.
ENGINES = ("libbpf", pytest.param("bcc", marks=pytest.mark.thorough))
