# SPDX-License-Identifier: GPL-2.0-only
"""Table: aligned plain-text columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What every report prints for a value this kernel or recording does not tell.
UNKNOWN = "unknown"

_NUMBER = re.compile(r"[0-9.]+( [a-z]+)?")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "  ") -> str:
    """Lines of aligned columns under `header`; a column of numbers is right-aligned.

    No rows give the empty string. None prints as 'unknown'. Every line ends in a newline.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return ""
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = []
    for line in (header, *cells):
        parts = [
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ]
        lines.append(indent + "  ".join(parts).rstrip() + "\n")
    return "".join(lines)


def _cell(value: object) -> str:
    """What a task or a driver calls itself may hold anything; a terminal must not obey it."""
    text = UNKNOWN if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) or cell in {UNKNOWN, "-", "few"}
