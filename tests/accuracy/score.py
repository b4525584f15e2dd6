# SPDX-License-Identifier: GPL-2.0-only
"""Score: what agenttune named for each step, held against what was injected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from agenttune.measure.cause import Cause
from agenttune.measure.culprit import Culprit, culprit
from agenttune.measure.trace import Bucket, Step, Trace

from .kinds import NAMES, QUIET, Kind, kind_of
from .subject import Turn

MISSING = "no record"
# An injection that is less of its step than this is not what delayed the step most.
LEAST_SHARE = 0.5
WAKEUP = (
    Bucket.CHAIN_HARDIRQ,
    Bucket.CHAIN_PENDING,
    Bucket.CHAIN_SOFTIRQ,
    Bucket.WAKE_IPI,
    Bucket.RUN_QUEUE,
)
CONSERVED_PART, CONSERVED_NS = 0.001, 2_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`said`: the cause named; `stage_right`: the cause; `right`: also who it was."""

    turn: Turn
    step: Step | None
    named: Culprit | None
    said: str
    stage_right: bool
    right: bool

    @property
    def error(self) -> float | None:
        """Of the size, relative; None where the cause is wrong."""
        if not self.stage_right or self.named is None or self.step is None:
            return None
        size_ns = self.named.ns
        if self.turn.kind != QUIET and kind_of(self.turn.kind).with_wakeup:
            size_ns += sum(self.step.ns(bucket) for bucket in WAKEUP)
        return abs(size_ns - self.turn.truth_ns) / self.turn.truth_ns


@dataclass(frozen=True, slots=True)
class Row:
    """One kind's score. Errors are relative; None: no sample."""

    kind: str
    injected: int
    left_out: int
    judged: int
    stage_right: int
    right: int
    error_median: float | None
    error_p95: float | None

    @property
    def share(self) -> float:
        return self.right / self.judged if self.judged else 0.0


def valid(turn: Turn) -> bool:
    """Whether the injection met the step and was the most of it, by the turn's own account."""
    return not turn.late and turn.truth_ns >= LEAST_SHARE * turn.duration_ns


def judge(turns: Iterable[Turn], trace: Trace) -> list[Verdict]:
    """One verdict for every valid turn."""
    steps = {step.id: step for step in trace.steps if step.comm == "at-subject"}
    return [_verdict(turn, steps.get(turn.id), trace) for turn in turns if valid(turn)]


def _verdict(turn: Turn, step: Step | None, trace: Trace) -> Verdict:
    if step is None:
        return Verdict(turn, None, None, MISSING, False, False)
    named = culprit(step, trace)
    if turn.kind == QUIET:
        right = named.cause == Cause.COMPUTE
        return Verdict(turn, step, named, named.cause, right, right)
    kind = kind_of(turn.kind)
    stage_right = named.cause == kind.cause
    return Verdict(
        turn, step, named, named.cause, stage_right, stage_right and _names(named, kind, turn)
    )


def _names(named: Culprit, kind: Kind, turn: Turn) -> bool:
    """Whether it also says who, as far as the injection has a name."""
    if kind.softirq is not None and named.softirq != kind.softirq:
        return False
    if kind.arch is not None and named.arch != kind.arch:
        return False
    if turn.comm is None:
        return True
    return turn.comm == named.comm or (named.tid is not None and turn.tid == named.tid)


def rows(turns: Sequence[Turn], verdicts: Sequence[Verdict]) -> list[Row]:
    return [_row(kind, turns, verdicts) for kind in (*NAMES, QUIET)]


def _row(kind: str, turns: Sequence[Turn], verdicts: Sequence[Verdict]) -> Row:
    injected = sum(turn.kind == kind for turn in turns)
    mine = [verdict for verdict in verdicts if verdict.turn.kind == kind]
    errors = sorted(error for verdict in mine if (error := verdict.error) is not None)
    return Row(
        kind=kind,
        injected=injected,
        left_out=injected - len(mine),
        judged=len(mine),
        stage_right=sum(verdict.stage_right for verdict in mine),
        right=sum(verdict.right for verdict in mine),
        error_median=median(errors) if errors else None,
        error_p95=errors[min(len(errors) - 1, int(0.95 * len(errors)))] if errors else None,
    )


def confusion(verdicts: Iterable[Verdict]) -> Counter[tuple[str, str]]:
    """(kind injected, cause named) → steps."""
    return Counter((verdict.turn.kind, verdict.said) for verdict in verdicts)


def unconserved(trace: Trace) -> list[Step]:
    """Steps whose buckets miss their duration by more than 0.1 % and more than 2 us."""
    return [
        step
        for step in trace.steps
        if abs(step.residual_ns) > max(CONSERVED_PART * step.duration_ns, CONSERVED_NS)
    ]
