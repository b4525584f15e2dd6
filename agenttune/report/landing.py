# SPDX-License-Identifier: GPL-2.0-only
"""A landing as text: the proof that interrupt work moved."""

from __future__ import annotations

from collections.abc import Sequence

from agenttune.policy.landing import Landing, VectorLanding, Verdict
from agenttune.report.table import table
from agenttune.report.units import duration

_VERDICTS = {
    Verdict.LEFT: "left",
    Verdict.STAYED: "STAYED",
    Verdict.QUIET: "nothing to judge by",
}
_RESTLESS = """\
STAYED without an interrupt: the NIC's NAPI is polled on the old CPU without a rest. The vector
moves when it interrupts, which it does once the traffic lets up.
"""


def landing_text(proof: Landing) -> str:
    """Where moved vectors fired and what avoided CPUs still carry, before and after."""
    windows = f"{duration(proof.before_ns)} before, {duration(proof.after_ns)} after"
    verdict = "interrupt work left" if proof.landed else "interrupt work did NOT leave"
    parts = [f"measured landing ({windows}): {verdict} the agent's CPUs\n"]
    fired = [each for each in proof.vectors if _fired(each) or _restless(each)]
    if fired:
        parts += ["\ninterrupts of the moved vectors\n", _vector_rows(fired)]
    if silent := len(proof.vectors) - len(fired):
        parts.append(f"  {silent} moved vectors did not fire in either window\n")
    if any(map(_restless, proof.vectors)):
        parts.append(_RESTLESS)
    parts += ["\nshare of the avoided CPUs that device interrupt work took\n", _cpu_rows(proof)]
    return "".join(parts)


def _fired(each: VectorLanding) -> int:
    before, after = each.before_avoided + each.before_elsewhere, each.after_avoided
    return before + after + each.after_elsewhere


def _restless(each: VectorLanding) -> bool:
    return each.verdict is Verdict.STAYED and not each.after_avoided and not each.after_elsewhere


def _vector_rows(fired: Sequence[VectorLanding]) -> str:
    header = ("vector", "avoided before", "after", "elsewhere before", "after", "verdict")
    return table(
        header,
        (
            (
                each.vector,
                each.before_avoided,
                each.after_avoided,
                each.before_elsewhere,
                each.after_elsewhere,
                _VERDICTS[each.verdict],
            )
            for each in fired
        ),
    )


def _cpu_rows(proof: Landing) -> str:
    header = ("CPU", "hardirq % before", "after", "softirq % before", "after", "softirq verdict")
    return table(
        header,
        (
            (
                each.cpu,
                f"{each.hardirq_before_pct:.2f}",
                f"{each.hardirq_after_pct:.2f}",
                f"{each.softirq_before_pct:.2f}",
                f"{each.softirq_after_pct:.2f}",
                _VERDICTS[each.verdict],
            )
            for each in proof.cpus
        ),
    )
