# SPDX-License-Identifier: GPL-2.0-only
"""Explanation: why a step took as long as it did, as frozen values with the sentence."""

from __future__ import annotations

from dataclasses import dataclass

from agenttune.measure.culprit import Cause, Culprit, contributors
from agenttune.measure.trace import Bucket, KindFigures, Step, Trace
from agenttune.policy.remedy import Remedy
from agenttune.report.names import step_name
from agenttune.report.sentence import phrase
from agenttune.report.units import duration


@dataclass(frozen=True, slots=True)
class BucketShare:
    """`mean_ns`: what steps of this kind spend there on average; None where none were counted."""

    bucket: Bucket
    ns: int
    mean_ns: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step. `kind_median_ns` is None with too few steps of its kind (`kind_count`) to tell.

    `late_ns` and `over_budget_ns` are None without a deadline or budget, negative where it was met.
    """

    step: Step
    duration_ns: int
    residual_ns: int
    kind_count: int
    kind_median_ns: float | None
    late_ns: int | None
    over_budget_ns: int | None
    buckets: tuple[BucketShare, ...]
    culprit: Culprit
    contributors: tuple[Culprit, ...]
    sentence: str
    remedy: Remedy


def explain(step: Step, trace: Trace, remedy: Remedy) -> Explanation:
    """Everything a report says about `step`; the same wherever it is asked, but for `remedy`."""
    kind = next((each for each in trace.kinds if each.kind is step.kind), None)
    parts = contributors(step, trace)
    found = parts[0] if parts else Culprit(Cause.UNKNOWN, 0, Bucket.UNSEEN)
    median = kind.durations.quantile(0.5) if kind else None
    median_ns = median.value if median and median.enough else None
    budget_ns = None if step.budget_us is None else step.budget_us * 1000
    return Explanation(
        step=step,
        duration_ns=step.duration_ns,
        residual_ns=step.residual_ns,
        kind_count=kind.count if kind else 0,
        kind_median_ns=median_ns,
        late_ns=None if step.deadline_ns is None else step.end_ns - step.deadline_ns,
        over_budget_ns=None if budget_ns is None else step.duration_ns - budget_ns,
        buckets=_buckets(step, kind),
        culprit=found,
        contributors=parts,
        sentence=_sentence(step, trace, found, kind, median_ns),
        remedy=remedy,
    )


def _buckets(step: Step, kind: KindFigures | None) -> tuple[BucketShare, ...]:
    means: list[float | None] = [None] * len(Bucket)
    if kind and kind.count:
        means = [ns / kind.count for ns in kind.buckets_ns]
    return tuple(map(BucketShare, Bucket, step.buckets_ns, means))


def _sentence(
    step: Step, trace: Trace, found: Culprit, kind: KindFigures | None, median_ns: float | None
) -> str:
    text = f"{step_name(step)} took {duration(step.duration_ns)}"
    if kind and median_ns is not None:
        apart_ns = step.duration_ns - median_ns
        side = "above" if apart_ns >= 0 else "below"
        text += f", {duration(abs(apart_ns))} {side} the median of its kind (n={kind.count})"
    if not found.ns:
        return text
    share = f"{100 * found.ns / step.duration_ns:.0f} %"
    return f"{text}: {duration(found.ns)} ({share}) {phrase(found, trace)}"
