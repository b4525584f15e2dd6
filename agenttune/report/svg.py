# SPDX-License-Identifier: GPL-2.0-only
"""SVG elements as text, with what fits where."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from agenttune.report.names import printable

# Of the font's size. Sans-serif letters are narrower on average; DejaVu Sans is nearly as wide.
_LETTER = 0.6
_BOLD = 0.66

INK = "#1b1f24"


def element(name: str, content: str = "", **attributes: object) -> str:
    """One element; an attribute's '_' stands for '-', a number gets one decimal."""
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_number(value))}"
        for key, value in attributes.items()
    )
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"


def text(
    x: float,
    y: float,
    words: str,
    size: float = 12,
    *,
    anchor: str = "start",
    fill: str = INK,
    bold: bool = False,
    halo: str = "",
) -> str:
    """A line of text; `words` may hold anything. `halo`: a colour around the letters."""
    more: dict[str, object] = {"font_weight": "600"} if bold else {}
    if halo:
        more |= {"stroke": halo, "stroke_width": 3.5, "paint_order": "stroke"}
    return element(
        "text", _escaped(words), x=x, y=y, font_size=size, text_anchor=anchor, fill=fill, **more
    )


def titled(words: str) -> str:
    """A tooltip: the first child of the element that it describes."""
    return element("title", _escaped(words))


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """An upper bound for ordinary text, in pixels."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in words)
    return (len(words) + wide) * size * (_BOLD if bold else _LETTER)


def fitted(words: str, width: float, size: float) -> str:
    """`words`, cut to fit with an ellipsis; empty when less than three letters would stay."""
    clean = printable(words)
    if text_width(clean, size) <= width:
        return clean
    while clean and text_width(clean + "…", size) > width:
        clean = clean[:-1]
    return clean.rstrip() + "…" if len(clean) >= 3 else ""


def wrapped(words: str, width: float, size: float) -> list[str]:
    """Lines that fit; a word that is too long alone is cut."""
    lines = [""]
    for word in printable(words).split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, size))
    return [line for line in lines if line]


def document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A whole file, on white, so that it reads on a dark page too."""
    body = "\n".join(
        (
            element("title", _escaped(title), id="title"),
            element("rect", width=width, height=height, rx=8, fill="#ffffff", stroke="#d0d7de"),
            *parts,
        )
    )
    fonts = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
    root = element(
        "svg",
        f"\n{body}\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby="title",
        font_family=fonts,
    )
    return root + "\n"


def _escaped(words: str) -> str:
    return escape(printable(words))


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
