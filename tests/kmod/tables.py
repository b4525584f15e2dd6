# SPDX-License-Identifier: GPL-2.0-only
"""Rows of a Markdown table, each printed as soon as it is measured."""

from __future__ import annotations


def print_head(*heads: str) -> None:
    """The table's first two lines."""
    print_row(*heads)
    print("|", "--- |" * len(heads))


def print_row(*cells: object) -> None:
    """One line of the table."""
    print("|", *(f"{cell} |" for cell in cells), flush=True)
