# SPDX-License-Identifier: GPL-2.0-only
"""Formula: the note's six terms of a step's latency, from its buckets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agenttune.measure.trace import Bucket, KindFigures, StepKind, Trace


class Term(StrEnum):
    """The note's terms (its section 1), then what they cannot hold."""

    MODEL = "L_model_step"
    TOOL = "L_tool_rpc"
    IRQ = "L_irq_delivery"
    SOFTIRQ = "L_softirq_or_threaded_irq"
    SCHEDULER = "L_scheduler_wakeup"
    USERSPACE = "L_userspace_parse"
    UNSEEN = "not seen"
    RESIDUAL = "residual"


# Every bucket but 'external', which is the model's or the tool's time by the step's kind. What
# interrupts took from a running step counts to the interrupts.
TERM_OF: Mapping[Bucket, Term] = {
    Bucket.RUN: Term.USERSPACE,
    Bucket.SYSCALL: Term.USERSPACE,
    Bucket.FAULT: Term.USERSPACE,
    Bucket.STOLEN_HARDIRQ: Term.IRQ,
    Bucket.STOLEN_SOFTIRQ: Term.SOFTIRQ,
    Bucket.WAKE_IPI: Term.SCHEDULER,
    Bucket.RUN_QUEUE: Term.SCHEDULER,
    Bucket.PREEMPTED: Term.SCHEDULER,
    Bucket.THROTTLED: Term.SCHEDULER,
    Bucket.CHAIN_HARDIRQ: Term.IRQ,
    Bucket.CHAIN_PENDING: Term.SOFTIRQ,
    Bucket.CHAIN_SOFTIRQ: Term.SOFTIRQ,
    Bucket.CHAIN_THREAD: Term.SOFTIRQ,
    Bucket.EVENT_LOOP: Term.USERSPACE,
    Bucket.UNSEEN: Term.UNSEEN,
}


@dataclass(frozen=True, slots=True)
class KindTerms:
    """All steps of one kind: their time by term, in Term's order. It sums to `total_ns` exactly.

    The residual is what no bucket holds, negative when the buckets hold too much.
    """

    kind: StepKind
    count: int
    total_ns: int
    terms_ns: tuple[int, ...]


def formula(trace: Trace) -> tuple[KindTerms, ...]:
    """One entry for each kind that had steps."""
    return tuple(_terms(figures) for figures in trace.kinds if figures.count)


def _terms(figures: KindFigures) -> KindTerms:
    external = Term.MODEL if figures.kind is StepKind.MODEL else Term.TOOL
    terms = dict.fromkeys(Term, 0)
    for bucket, ns in zip(Bucket, figures.buckets_ns, strict=True):
        terms[TERM_OF.get(bucket, external)] += ns
    total_ns = figures.durations.total
    terms[Term.RESIDUAL] = total_ns - sum(figures.buckets_ns)
    return KindTerms(figures.kind, figures.count, total_ns, tuple(terms.values()))
