# SPDX-License-Identifier: GPL-2.0-only
"""An evaluation as text: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from agenttune.evaluate.comparison import Comparison, Figure, Verdict
from agenttune.evaluate.quantiles import NAMES
from agenttune.evaluate.result import ArmResult, Evaluation
from agenttune.report.table import table
from agenttune.report.units import duration

# The quantile of the headline: the first of these that has a verdict.
_HEADLINE = ("p99", "p90", "p50")
TUNED = "tuned"
# The profile's parts, each an arm of its own.
_PARTS = ("affinity", "pinning", "budget", "guardrail")


def evaluation_text(done: Evaluation) -> str:
    sections = (
        (f"{', '.join(headline(done))}\n" + "".join(f"{line}\n" for line in credit(done)), ""),
        ("step latency (geometric mean of the blocks' quantiles, with its interval)\n",
         table(("arm", *NAMES), ((arm.name, *map(figure_cell, arm.figures)) for arm in done.ran))),
        (f"time relative to the baseline ({100 * done.level:g} % intervals, which hold together "
         "for all quantiles of an arm)\n", _comparison_rows(done)),
        ("arms that were not run\n", table(("arm", "why"), (
            (arm.name, arm.unavailable) for arm in done.arms if arm.unavailable))),
        ("blocks\n", "".join(f"  {line}\n" for line in checks(done))),
        ("not observable here\n", "".join(f"  {line}\n" for line in done.not_observable)),
    )  # fmt: skip
    body = "\n".join(title + text for title, text in sections if text or title == sections[0][0])
    return _head(done) + "\n" + body


def headline(done: Evaluation) -> list[str]:
    """What the evaluation says of the whole profile, or of each arm where it was not run."""
    arms = [arm for arm in done.ran if arm.comparisons]
    chosen = [arm for arm in arms if arm.name == TUNED] or arms
    return [f"{arm.name}: {sentence(arm)}" for arm in chosen] or ["no arm has a complete round"]


def sentence(arm: ArmResult) -> str:
    """'p99 takes 0.45 of the baseline's time (0.40 to 0.51): faster'."""
    found = _judged(arm)
    if found is None:
        return f"too few samples: {arm.comparisons[0].why}"
    share = f"{ratio_cell(found)} of the baseline's time"
    return f"{found.quantile} takes {share}: {verdict(found)}"


def credit(done: Evaluation) -> list[str]:
    """Which change did it: at most one line, with the verdict of each part of the profile."""
    judged = [
        (arm.name, found) for arm in done.ran if arm.name in _PARTS and (found := _judged(arm))
    ]
    clear = [
        f"{name} {verdict(found)} ({found.quantile})"
        for name, found in sorted(judged, key=lambda pair: pair[1].ratio or 1)
        if found.verdict is not Verdict.NO_EVIDENCE
    ]
    unclear = [name for name, found in judged if found.verdict is Verdict.NO_EVIDENCE]
    if unclear:
        clear.append(f"{', '.join(unclear)}: {Verdict.NO_EVIDENCE}")
    return [f"of its parts, each alone: {'; '.join(clear)}"] if clear else []


def _judged(arm: ArmResult) -> Comparison | None:
    """The comparison that speaks for an arm."""
    found = {each.quantile: each for each in arm.comparisons}
    judged = (found[name] for name in _HEADLINE if name in found)
    return next((each for each in judged if each.verdict is not Verdict.TOO_FEW), None)


def verdict(found: Comparison) -> str:
    """With the factor that people say: '2.2 times as fast'."""
    if found.verdict is Verdict.FASTER and found.ratio:
        return f"{1 / found.ratio:.2f} times as fast"
    if found.verdict is Verdict.SLOWER and found.ratio:
        return f"{found.ratio:.2f} times as slow"
    return str(found.verdict)


def figure_cell(found: Figure) -> str:
    if found.ns is None:
        return "few"
    if found.low_ns is None or found.high_ns is None:
        return duration(found.ns)
    return f"{duration(found.ns)} ({duration(found.low_ns)} to {duration(found.high_ns)})"


def ratio_cell(found: Comparison) -> str:
    if found.ratio is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.ratio:.3g}"
    return f"{found.ratio:.3g} ({found.low:.3g} to {found.high:.3g})"


def checks(done: Evaluation) -> Iterator[str]:
    """Whether the blocks are what they seem: agreement of the clocks, losses, disturbances."""
    blocks = done.blocks
    if not blocks:
        return
    yield f"{len(blocks)} in {done.rounds} complete rounds, {sum(b.steps for b in blocks)} steps"
    agreements = [b.attribution.agreement for b in blocks if b.attribution]
    both = [each for each in agreements if each]
    if both:
        matched, outside = sum(a.matched for a in both), sum(a.outside for a in both)
        yield (
            f"the agent's clock and the kernel: {matched} of {sum(a.app for a in both)} steps "
            f"matched, {outside} whose kernel interval is not within the agent's"
            + (": THEY DO NOT AGREE" if outside else "; they agree")
        )
    seen = [b.attribution for b in blocks if b.attribution]
    if seen:
        yield (
            f"{sum(a.lost for a in seen)} records lost, "
            f"{sum(a.missed_switches for a in seen)} context switches missed"
        )
    yield from _disturbances(done)


def _disturbances(done: Evaluation) -> Iterator[str]:
    found = [block.disturbances for block in done.blocks]
    steals = [each.steal_pct for each in found if each.steal_pct is not None]
    if steals:
        yield f"steal time: {max(steals):.1f} % of all CPU time in the worst block"
    throttled = [each.throttles for each in found if each.throttles is not None]
    if throttled:
        yield f"thermal throttling: {sum(throttled)} events"
    foreign = sum(bool(each.foreign) for each in found)
    yield f"settings that someone else changed meanwhile: in {foreign} blocks"


def _head(done: Evaluation) -> str:
    stopped = f"STOPPED EARLY: {done.stopped}\n" if done.stopped else ""
    emulated = (
        "These CPUs are virtual or emulated: read the ratios, not the times.\n"
        if done.environment.hypervisor
        else ""
    )
    return (
        f"evaluated {done.settings.profile} on Linux {done.environment.kernel}: {done.rounds} "
        f"rounds of {done.settings.seconds:g} s blocks, {len(done.ran)} arms, agent CPUs "
        f"{done.agent_cpus or 'unknown'}\n{stopped}{emulated}"
    )


def _comparison_rows(done: Evaluation) -> str:
    return table(
        ("arm", "quantile", "ratio", "verdict"),
        (
            (arm.name, each.quantile, ratio_cell(each), each.why or verdict(each))
            for arm in done.ran
            for each in arm.comparisons
        ),
    )
