# SPDX-License-Identifier: GPL-2.0-only
"""Heat map: which CPU takes which interrupt, before and after."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from agenttune.evaluate.comparison import BASELINE
from agenttune.evaluate.result import Evaluation
from agenttune.host.cpumask import CpuMask
from agenttune.report.charts import SMALL, WIDTH, svg, words
from agenttune.report.evaluation_figures import Picture
from agenttune.report.svg import element, fitted, titled

_ROWS, _COLUMNS = 14, 12
_NAMES, _ROW = 132, 18
# Below this a number does not fit into its cell.
_READABLE = 26

Rates = Mapping[str, Mapping[int, float]]


def interrupt_maps(done: Evaluation, arm: str) -> Picture:
    """The baseline above, the arm below, with the same rows and columns."""
    before, after = _rates(done, BASELINE), _rates(done, arm)
    labels = _busiest(before, after)
    agent = CpuMask.parse_list(done.agent_cpus)
    cpus = _columns(before, after, agent)
    high = max((rate for rates in (before, after) for row in labels
                for rate in rates.get(row, {}).values()), default=1.0)  # fmt: skip
    parts, y = [], 0.0
    for name, rates in ((BASELINE, before), (arm, after)):
        drawn, y = _map(name, rates, labels, cpus, agent, high, y)
        parts += drawn
    every = CpuMask.parse_list(done.environment.online)
    left_out = f" The {len(cpus)} busiest of {len(every)} CPUs." if len(cpus) < len(every) else ""
    return Picture(
        "interrupts",
        "Interrupts per second and CPU, before and after",
        f"▲ marks the agent's CPUs. The {len(labels)} most frequent interrupts.{left_out}",
        svg(y, "interrupts by CPU", parts) if labels else "",
    )


def _rates(done: Evaluation, arm: str) -> Rates:
    seconds = sum(block.seconds for block in done.blocks_of(arm))
    found: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for block in done.blocks_of(arm):
        for label, counts in block.interrupts.items():
            for cpu, count in counts.items():
                found[label][cpu] += count / seconds
    return found


def _busiest(before: Rates, after: Rates) -> list[str]:
    """Device interrupts first, in the order of /proc/interrupts."""
    total = {
        label: sum(before.get(label, {}).values()) + sum(after.get(label, {}).values())
        for label in {**before, **after}
    }
    kept = sorted(total, key=lambda label: -total[label])[:_ROWS]
    return sorted(kept, key=lambda label: (not label[0].isdigit(), _number(label), label))


def _number(label: str) -> int:
    first = label.split()[0]
    return int(first) if first.isdecimal() else 0


def _columns(before: Rates, after: Rates, agent: CpuMask) -> list[int]:
    load: dict[int, float] = defaultdict(float)
    for rates in (before, after):
        for row in rates.values():
            for cpu, rate in row.items():
                load[cpu] += rate
    ranked = sorted(load, key=lambda cpu: (cpu not in agent, -load[cpu]))
    return sorted(ranked[:_COLUMNS])


def _map(
    name: str,
    rates: Rates,
    labels: Sequence[str],
    cpus: Sequence[int],
    agent: CpuMask,
    high: float,
    top: float,
) -> tuple[list[str], float]:
    wide = (WIDTH - _NAMES - 4) / len(cpus)
    parts = [words(4, top + 12, fitted(name, _NAMES - 8, 11), size=11)]
    for place, cpu in enumerate(cpus):
        mark = "▲" if cpu in agent else ""
        parts.append(words(_NAMES + wide * (place + 0.5), top + 12, f"{mark}{cpu}", "middle"))
    y = top + 18
    for label in labels:
        parts.append(words(_NAMES - 4, y + 12, fitted(label, _NAMES - 8, SMALL), "end"))
        for place, cpu in enumerate(cpus):
            rate = rates.get(label, {}).get(cpu, 0.0)
            parts.append(_cell(label, cpu, rate, high, _NAMES + wide * place, y, wide))
        y += _ROW
    return parts, y + 12


def _cell(label: str, cpu: int, rate: float, high: float, x: float, y: float, wide: float) -> str:
    shade = math.log1p(rate) / math.log1p(high) * 0.75 if high else 0.0
    box = element(
        "rect",
        titled(f"{label} on CPU {cpu}: {rate:.3g} per second"),
        x=x + 1,
        y=y + 1,
        width=max(wide - 2, 1),
        height=_ROW - 2,
        fill="var(--heat)",
        fill_opacity=f"{shade:.2f}",
        class_="cell",
    )
    if rate < 0.5 or wide < _READABLE:
        return box
    return box + words(x + wide / 2, y + 12.5, _short(rate), "middle", 9)


def _short(rate: float) -> str:
    return f"{rate / 1000:.3g}k" if rate >= 1000 else f"{rate:.0f}"
