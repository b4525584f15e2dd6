# SPDX-License-Identifier: GPL-2.0-only
"""Ten stages with verdicts, and a formula whose terms are the whole step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import BEGIN_NS, MS, US, chain, holder, step, trace, traces, wait

from agenttune.measure.formula import TERM_OF, Term, formula
from agenttune.measure.histogram import Histogram, bucket_of
from agenttune.measure.stages import Stage, StageRow, Verdict, stages
from agenttune.measure.trace import (
    Bucket,
    CompletionKind,
    LegFigures,
    Step,
    StepKind,
    Thief,
    Trace,
)

UNSEEN = {Stage.DEVICE, Stage.MSIX, Stage.IDT, Stage.ENTRY, Stage.DISPATCH}


def with_legs(legs: dict[str, Histogram], **fields: object) -> Trace:
    return trace(legs=tuple(LegFigures(*leg) for leg in legs.items()), **fields)


def row(stage: Stage, seen: Trace) -> StageRow:
    (found,) = (each for each in stages(seen) if each.stage is stage)
    return found


def wakeups(ns: int, count: int = 1000) -> StageRow:
    same = Histogram({bucket_of(ns): count}, ns * count, ns)
    return row(Stage.WAKEUP, with_legs({"wakeup to run": same}))


def test_there_are_ten_rows_in_the_notes_order() -> None:
    assert [each.stage for each in stages(trace())] == list(Stage)
    assert len(Stage) == 10


def test_what_no_tracepoint_sees_is_never_a_number() -> None:
    for each in stages(trace()):
        if each.stage in UNSEEN:
            assert (each.verdict, each.parts, each.bound_ns) == (Verdict.NOT_OBSERVABLE, (), None)
            assert each.why


@pytest.mark.parametrize(
    ("ns", "verdict"),
    [
        (7 * US, Verdict.QUIET),
        (29 * US, Verdict.QUIET),
        (50 * US, Verdict.ELEVATED),
        (95 * US, Verdict.ELEVATED),
        (110 * US, Verdict.TAIL),
        (20 * MS, Verdict.TAIL),
    ],
)
def test_the_p99_decides(ns: int, verdict: Verdict) -> None:
    found = wakeups(ns)
    assert found.verdict is verdict
    assert found.why.startswith("by the p99")
    assert ("beyond" in found.why) == (ns > 5 * MS)


def test_a_tail_of_two_percent_is_a_tail() -> None:
    samples = Histogram.of([10 * US] * 980 + [MS] * 20)
    assert row(Stage.WAKEUP, with_legs({"wakeup to run": samples})).verdict is Verdict.TAIL


def test_fewer_samples_are_judged_by_a_lower_quantile_and_say_so() -> None:
    found = wakeups(10 * US, 300)
    assert (found.verdict, found.why) == (
        Verdict.QUIET,
        "by the p95: 300 samples, p99 needs 1000",
    )


def test_too_few_samples_have_no_verdict() -> None:
    found = wakeups(10 * US, 19)
    assert (found.verdict, found.why) == (Verdict.TOO_FEW, "19 samples; a median needs 20")


def test_a_leg_that_was_not_recorded_has_no_samples() -> None:
    assert row(Stage.HANDLER, with_legs({})).verdict is Verdict.TOO_FEW


def test_the_worse_part_of_a_softirq_decides() -> None:
    legs = {
        "softirq pending": Histogram.of([MS] * 1000),
        "softirq": Histogram.of([10 * US] * 1000),
    }
    found = row(Stage.SOFTIRQ, with_legs(legs))
    assert found.verdict is Verdict.TAIL
    assert "of softirq pending" in found.why
    assert [part.leg for part in found.parts] == list(legs)


def test_resume_says_what_it_needs_and_costs() -> None:
    legs = {"resume": Histogram.of([5 * US] * 1000)}
    without = row(Stage.RESUME, with_legs(legs, syscalls=False))
    assert without.verdict is Verdict.NOT_OBSERVABLE
    assert "--syscalls" in without.why
    assert "200 to 300 ns" in without.why
    assert row(Stage.RESUME, with_legs(legs, syscalls=True)).verdict is Verdict.QUIET


def disk_step(latency_ns: int) -> Step:
    found = chain(completion=CompletionKind.BLOCK, latency_ns=latency_ns, softirq="BLOCK")
    return step(9 * MS, [wait(0, 5 * MS, 4 * MS, chain=found)])


def test_a_block_request_bounds_what_is_inside_it() -> None:
    seen = trace([disk_step(80 * US), disk_step(60 * US)])
    for each in stages(seen):
        assert each.bound_ns == (60 * US if each.stage in UNSEEN else None)
        assert ("block request" in each.why) == (each.stage in UNSEEN)


def test_the_waits_sharpen_the_cause() -> None:
    far = chain(cpu=1, ksoftirqd=True, completion=CompletionKind.SOCKET)
    hog = holder("hog", held_ns=3 * MS)
    waits = [wait(0, 5 * MS, MS, chain=far, holder=hog, migrated=True)]
    seen = trace([step(9 * MS, waits, stolen_hardirq=Thief(45, None, None))])
    assert row(Stage.HANDLER, seen).here == "vector 45 (virtio1-input.0) took most in 1 steps"
    softirq = row(Stage.SOFTIRQ, seen).here
    assert "1 ran in ksoftirqd" in softirq
    assert "1 on another CPU" in softirq
    assert row(Stage.COMPLETION, seen).here == "kept waits by completion: 1 socket"
    wakeup = row(Stage.WAKEUP, seen).here
    assert "hog held the CPU for 75 %" in wakeup
    assert "1 of 1 kept waits ran on another CPU" in wakeup


def test_no_wait_no_evidence() -> None:
    assert not any(each.here for each in stages(trace([step(MS)])))


@settings(max_examples=25)
@given(traces())
def test_any_trace_has_ten_judged_rows(seen: Trace) -> None:
    rows = stages(seen)
    assert len(rows) == 10
    for each in rows:
        assert each.why
        assert (each.verdict is Verdict.NOT_OBSERVABLE) == (
            each.stage in UNSEEN or (each.stage is Stage.RESUME and not seen.syscalls)
        )


@settings(max_examples=25)
@given(traces())
def test_the_terms_sum_to_the_steps(seen: Trace) -> None:
    found = formula(seen)
    assert {each.kind for each in found} == {each.kind for each in seen.steps}
    for each in found:
        mine = [one for one in seen.steps if one.kind is each.kind]
        assert each.total_ns == sum(one.duration_ns for one in mine)
        assert sum(each.terms_ns) == each.total_ns


def test_every_bucket_has_a_term() -> None:
    assert set(Bucket) - TERM_OF.keys() == {Bucket.EXTERNAL}


@pytest.mark.parametrize(
    ("kind", "term"),
    [(StepKind.MODEL, Term.MODEL), (StepKind.TOOL, Term.TOOL), (StepKind.OTHER, Term.TOOL)],
)
def test_external_waits_are_the_models_or_the_tools(kind: StepKind, term: Term) -> None:
    (found,) = formula(trace([step(9 * MS, buckets={Bucket.EXTERNAL: 4 * MS}, kind=kind)]))
    assert dict(zip(Term, found.terms_ns, strict=True))[term] == 4 * MS


def test_what_no_bucket_holds_is_a_term_of_its_own() -> None:
    made = step(MS, buckets={Bucket.UNSEEN: 100})
    longer = replace(made, end_ns=BEGIN_NS + MS + 7)
    (found,) = formula(trace([longer]))
    terms = dict(zip(Term, found.terms_ns, strict=True))
    assert (terms[Term.UNSEEN], terms[Term.RESIDUAL]) == (100, 7)


@given(st.integers(0, 40 * MS))
def test_a_longer_time_is_never_judged_better(ns: int) -> None:
    order = (Verdict.QUIET, Verdict.ELEVATED, Verdict.TAIL)
    assert order.index(wakeups(ns).verdict) <= order.index(wakeups(ns + ns // 4).verdict)
