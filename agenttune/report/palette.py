# SPDX-License-Identifier: GPL-2.0-only
"""Palette: how the picture of a step shows its buckets.

Colours of Okabe and Ito (Color Universal Design, 2008), which people with any colour vision tell
apart. Hatching tells apart what is alike in grey.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agenttune.measure.trace import Bucket
from agenttune.report.svg import INK, element

_BLUE, _SKY, _GREEN, _YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
_ORANGE, _VERMILLION, _PURPLE = "#e69f00", "#d55e00", "#cc79a7"
_DARK, _GREY, _PALE = "#3d444d", "#dfe4ea", "#f4d58d"


@dataclass(frozen=True, slots=True)
class Paint:
    """A fill, what is readable on it, and its hatching ('' for none)."""

    colour: str
    ink: str = INK
    hatch: str = ""

    @property
    def fill(self) -> str:
        return f"url(#{self.hatch}-{self.colour[1:]})" if self.hatch else self.colour


# Hatchings by name: lines in a cell of 8 x 8, before it is turned.
_HATCHES = {
    "stripes": ("M0 0V8", 45),
    "backstripes": ("M0 0V8", -45),
    "grid": ("M0 0V8M0 0H8", 45),
    "bars": ("M0 0V8", 0),
}

PAINTS = {
    Bucket.RUN: Paint(_BLUE, "#ffffff"),
    Bucket.SYSCALL: Paint(_SKY),
    Bucket.FAULT: Paint(_PURPLE, hatch="bars"),
    Bucket.STOLEN_HARDIRQ: Paint(_DARK, "#ffffff", "stripes"),
    Bucket.STOLEN_SOFTIRQ: Paint(_ORANGE, hatch="stripes"),
    Bucket.WAKE_IPI: Paint(_YELLOW),
    Bucket.RUN_QUEUE: Paint(_VERMILLION, "#ffffff", "stripes"),
    Bucket.PREEMPTED: Paint(_VERMILLION, "#ffffff", "backstripes"),
    Bucket.THROTTLED: Paint(_VERMILLION, "#ffffff", "grid"),
    Bucket.EXTERNAL: Paint(_GREY),
    Bucket.CHAIN_HARDIRQ: Paint(_DARK, "#ffffff"),
    Bucket.CHAIN_PENDING: Paint(_PALE),
    Bucket.CHAIN_SOFTIRQ: Paint(_ORANGE),
    Bucket.CHAIN_THREAD: Paint(_PURPLE),
    Bucket.EVENT_LOOP: Paint(_GREEN, "#ffffff"),
    Bucket.UNSEEN: Paint("#ffffff", hatch="grid"),
}

IDLE = Paint("#e6eaee")
# On the CPU but for waits that were not kept.
MIXED = Paint(_BLUE, "#ffffff", "bars")


def hatchings() -> Iterator[str]:
    """The definitions that the fills refer to."""
    for paint in (*PAINTS.values(), MIXED):
        if not paint.hatch:
            continue
        lines, turn = _HATCHES[paint.hatch]
        stroke = "#ffffff" if paint.ink == "#ffffff" else "#6e7781"
        content = element("rect", width=8, height=8, fill=paint.colour) + element(
            "path", d=lines, stroke=stroke, stroke_width=3, stroke_opacity=0.28
        )
        yield element(
            "pattern",
            content,
            id=f"{paint.hatch}-{paint.colour[1:]}",
            width=8,
            height=8,
            patternUnits="userSpaceOnUse",
            patternTransform=f"rotate({turn})",
        )
