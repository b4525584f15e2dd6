# SPDX-License-Identifier: GPL-2.0-only
"""An evaluation as one page: the answer, the figures, what was done, how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agenttune.evaluate.comparison import BASELINE, Verdict
from agenttune.evaluate.quantiles import NAMES
from agenttune.evaluate.result import ArmResult, Block, Evaluation
from agenttune.evaluate.workload import Workload
from agenttune.report.evaluation import (
    TUNED,
    checks,
    credit,
    figure_cell,
    ratio_cell,
    sentence,
    verdict,
)
from agenttune.report.evaluation_figures import (
    Picture,
    attributed,
    histogram,
    latencies,
    migrations,
    ratios,
    slowest,
)
from agenttune.report.heatmap import interrupt_maps
from agenttune.report.page import grid, page, paragraph, plain, section, tag
from agenttune.report.units import duration


def evaluation_html(done: Evaluation) -> str:
    """The whole file. It needs no network, no script and no other file."""
    title = f"agenttune: {done.settings.profile} evaluated"
    body = "".join(
        (
            _head(done),
            *map(_figures, _groups(done)),
            section("Latency by arm", _latency_table(done)),
            section("Each arm beside the baseline", _comparison_table(done)),
            section("What was changed, and why", *_changes(done)),
            section("How far to trust this", *_trust(done)),
            section("Environment", _environment(done)),
            section("Repeat it", tag("pre", plain(done.command))),
        )
    )
    return page(title, body)


def _head(done: Evaluation) -> str:
    parts = [tag("h1", f"Is the agent faster with the profile {plain(done.settings.profile)}?")]
    parts.append(paragraph(_scope(done), "soft"))
    if done.stopped:
        parts.append(paragraph(f"Stopped early: {done.stopped}", "warning"))
    if done.environment.hypervisor:
        parts.append(
            paragraph("These CPUs are virtual or emulated: read the ratios, not the times.", "soft")
        )
    arms = [arm for arm in done.ran if arm.comparisons]
    for arm in sorted(arms, key=lambda each: each.name != TUNED):
        words = tag("strong", plain(arm.name)) + plain(f": {sentence(arm)}")
        if arm.name == TUNED or len(arms) == 1:
            parts.append(tag("p", words, class_=f"answer {_colour(arm)}"))
            parts += map(paragraph, credit(done) if arm.name == TUNED else ())
        else:
            parts.append(tag("p", f"{words} {tag('span', plain(f'({arm.what})'), class_='soft')}"))
    return "".join(parts) if arms else "".join((*parts, paragraph("No round is complete.")))


def _scope(done: Evaluation) -> str:
    agent = "a live agent" if done.settings.workload is None else "the built-in agent"
    if done.settings.workload:
        agent += f", mix '{done.settings.workload.mix}'"
    noise = f", with {', '.join(done.settings.noise)} noise" if done.settings.noise else ""
    return (
        f"{agent}{noise}; {done.rounds} rounds of {len(done.ran)} arms in random order, "
        f"{done.settings.seconds:g} s a block; {sum(block.steps for block in done.blocks)} steps; "
        f"agent CPUs {done.agent_cpus or 'unknown'}"
    )


def _colour(arm: ArmResult) -> str:
    verdicts = {each.verdict for each in arm.comparisons}
    if Verdict.FASTER in verdicts and Verdict.SLOWER not in verdicts:
        return "faster"
    return "slower" if Verdict.SLOWER in verdicts else ""


def _groups(done: Evaluation) -> Iterator[tuple[str, Sequence[Picture]]]:
    if not done.blocks:
        return
    yield "Is it faster, and which change did it", (ratios(done), latencies(done))
    yield "On the way from interrupt to agent", (
        histogram(
            done, "wakeups", "Interrupt to agent",
            "From the interrupt's entry until the agent runs, of completions that ended a wait.",
            attributed(done, "wakeups"),
        ),
        histogram(
            done, "softirqs", "Softirq runtime",
            "Each run of a softirq on the agent's CPUs.",
            attributed(done, "softirqs"),
        ),
        histogram(
            done, "small-io", "Small block I/O",
            "Requests of at most 64 KiB that the agent waited for, from issue to completion.",
            attributed(done, "small_io"),
        ),
        slowest(done),
    )  # fmt: skip
    yield "Where interrupts and the agent were", (*_maps(done), migrations(done))


def _maps(done: Evaluation) -> Iterator[Picture]:
    names = [arm.name for arm in done.ran if arm.name != BASELINE]
    chosen = TUNED if TUNED in names else names[0] if names else ""
    if chosen:
        yield interrupt_maps(done, chosen)


def _figures(group: tuple[str, Sequence[Picture]]) -> str:
    title, pictures = group
    return section(title, tag("div", "".join(map(_figure, pictures)), class_="figures"))


def _figure(found: Picture) -> str:
    nothing = paragraph("Nothing of this was observed in this evaluation.", "soft")
    caption = tag("figcaption", plain(found.caption))
    heading = tag("h3", plain(found.title))
    return tag("figure", heading + (found.drawing or nothing) + caption, id=f"figure-{found.key}")


def _latency_table(done: Evaluation) -> str:
    note = (
        "Geometric means of the blocks' quantiles, with intervals; 'few': see the next table. "
        "Their ratios are the ratios below."
    )
    rows = [(arm.name, arm.what, *map(figure_cell, arm.figures)) for arm in done.ran]
    return paragraph(note, "soft") + grid(("arm", "what it is", *NAMES), rows)


def _comparison_table(done: Evaluation) -> str:
    rows = [
        (arm.name, each.quantile, ratio_cell(each), each.why or verdict(each), each.rounds)
        for arm in done.ran
        for each in arm.comparisons
    ]
    missing = [(arm.name, arm.unavailable) for arm in done.arms if arm.unavailable]
    others = tag("h3", "Arms that were not run") + grid(("arm", "why"), missing) if missing else ""
    return grid(("arm", "quantile", "ratio (interval)", "verdict", "rounds"), rows) + others


def _changes(done: Evaluation) -> Iterator[str]:
    for arm in done.ran:
        if not arm.changes and not arm.notes:
            continue
        rows = [
            (each.label, each.before or "none", each.wanted or "none", each.reason,
             "; ".join(each.evidence))
            for each in arm.changes
        ]  # fmt: skip
        plural = "s" if len(rows) != 1 else ""
        body = grid(("what", "was", "set to", "why", "evidence"), rows)
        notes = (
            tag("ul", "".join(tag("li", plain(note)) for note in arm.notes)) if arm.notes else ""
        )
        head = tag("summary", plain(f"{arm.name}: {len(rows)} change{plural}"))
        yield tag("details", head + body + notes, **({"open": ""} if arm.name == TUNED else {}))


def _trust(done: Evaluation) -> Iterator[str]:
    yield tag("ul", "".join(tag("li", plain(line)) for line in checks(done)))
    if done.not_observable:
        yield tag("h3", "Not observable here")
        yield tag("ul", "".join(tag("li", plain(line)) for line in done.not_observable))
    rows = list(map(_block_row, done.blocks))
    header = ("round", "arm", "steps", "p50", "steal %", "busy %", "MHz", "throttles",
              "migrations", "missed switches", "changed by others")  # fmt: skip
    yield tag("details", tag("summary", f"All {len(rows)} blocks") + grid(header, rows))


def _block_row(block: Block) -> tuple[object, ...]:
    seen = block.disturbances
    p50 = block.quantiles_ns[0]
    low_high = seen.frequency_mhz
    return (
        block.round,
        block.arm,
        block.steps,
        "few" if p50 is None else duration(p50),
        None if seen.steal_pct is None else f"{seen.steal_pct:.1f}",
        None if seen.busy_pct is None else f"{seen.busy_pct:.0f}",
        f"{low_high[0]}-{low_high[1]}" if low_high else None,
        seen.throttles,
        seen.migrations,
        block.attribution.missed_switches if block.attribution else None,
        "; ".join(seen.foreign) or "nothing",
    )


def _environment(done: Evaluation) -> str:
    here, asked = done.environment, done.settings
    virtual = {True: "virtual or emulated", False: "physical"}
    work = asked.workload
    rows: list[tuple[str, object]] = [
        ("kernel", here.kernel),
        ("CPU", here.cpu),
        ("online CPUs", here.online),
        ("machine", None if here.hypervisor is None else virtual[here.hypervisor]),
        ("frequency governor", here.governor),
        ("who else writes these settings", ", ".join(here.writers) or "nobody found"),
        ("agenttune, Python", f"{here.agenttune}, {here.python}"),
        ("seed, settling, guard", f"{asked.seed}, {asked.settle_s:g} s, {_guard(asked.guard)}"),
        ("agent", ", ".join(asked.selectors)),
    ]
    if work:
        rows.append(("workload", _work(work)))
    return grid(("", ""), rows)


def _guard(factor: float | None) -> str:
    return "none" if factor is None else f"{factor:g}x"


def _work(work: Workload) -> str:
    rate = "as fast as possible" if work.rate is None else f"{work.rate:g} a second at most"
    return (
        f"mix {work.mix}, steps {rate}; RPC {work.rpc_bytes} bytes to "
        f"{work.tool or 'a tool on loopback'}; reads {work.read_bytes} bytes of "
        f"{work.data or 'a file of its own'}; starts on CPUs {work.cpus or 'of any number'}"
    )
