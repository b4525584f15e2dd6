# SPDX-License-Identifier: GPL-2.0-only
"""Page: one self-contained HTML file, without scripts and without the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from agenttune.report.names import printable
from agenttune.report.table import UNKNOWN

# Okabe and Ito's colours, as in report/palette.py; lighter where a dark ground asks for it. Each
# has a contrast of 3:1 with its ground, as WCAG 2.1 asks of graphics.
_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1f24; --soft: #59636e;
  --line: #d0d7de; --heat: #d55e00; --c0: #3d444d; --c1: #0072b2; --c2: #00805d; --c3: #c04d00;
  --c4: #a8548a; --c5: #8a6d00; --c6: #2f81b7; --c7: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ground: #11151a; --ink: #e6eaee; --soft: #a3adb8;
  --line: #3a424c; --heat: #e8731a; --c0: #d0d7de; --c1: #56b4e9; --c2: #2bbd93; --c3: #f0883e;
  --c4: #e39cc4; --c5: #f0e442; --c6: #9ecbf0; --c7: #8b949e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans',
  sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0; }
p { margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.answer { font-size: 1.15rem; padding: .75rem 1rem; margin: 1rem 0;
  border-left: 5px solid var(--c7); }
.answer.faster { border-color: var(--c1); } .answer.slower { border-color: var(--c3); }
.warning { padding: .5rem 1rem; border: 2px solid var(--c3); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr));
  gap: 1.5rem; align-items: start; }
figure { margin: 0; max-width: 36rem; } figcaption { margin-top: .25rem; }
svg { width: 100%; height: auto; display: block; font-family: inherit; }
.grid { stroke: var(--line); } .one { stroke: var(--ink); stroke-width: 1.5; }
.part { stroke: var(--soft); stroke-width: .5; } .cell { stroke: var(--line); stroke-width: .5; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; width: 100%; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; }
pre, code { font: .85rem/1.4 ui-monospace, 'DejaVu Sans Mono', monospace; }
pre { padding: .75rem; border: 1px solid var(--line); overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
td { overflow-wrap: break-word; } summary { cursor: pointer; }
"""


def plain(text: object) -> str:
    """Text as a page shows it, whatever it holds."""
    return escape(printable(UNKNOWN if text is None else str(text)))


def tag(name: str, content: str = "", **attributes: str) -> str:
    """An element around HTML that is safe already; attributes are escaped."""
    said = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{said}>{content}</{name}>"


def paragraph(text: object, css: str = "") -> str:
    return tag("p", plain(text), class_=css) if css else tag("p", plain(text))


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls by itself where it is too wide; '' without rows."""
    body = "".join(tag("tr", "".join(tag("td", plain(c)) for c in row)) for row in rows)
    if not body:
        return ""
    head = tag("tr", "".join(tag("th", plain(name), scope="col") for name in header))
    return tag("div", tag("table", tag("thead", head) + tag("tbody", body)), class_="wide")


def section(title: str, *parts: str) -> str:
    """A heading and what is below it; '' when nothing is."""
    body = "".join(parts)
    return tag("section", tag("h2", plain(title)) + body) if body else ""


def page(title: str, body: str) -> str:
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">' + tag("title", plain(title)) + tag("style", _STYLE)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{tag("main", body)}'
        "</body></html>\n"
    )
