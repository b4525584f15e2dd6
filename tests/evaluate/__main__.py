# SPDX-License-Identifier: GPL-2.0-only
"""Whether `agenttune evaluate` holds its level for real: python -m tests.evaluate aa|ab, as root.

aa: evaluations of two identical arms, of which at most 5 % may find a difference. ab: evaluations
in which the agent makes each step 20 % longer in one arm, by its own clock; at least 95 % must find
it, and 90 % of the intervals hold 1.2. Nothing of the host is changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agenttune.change.journal import open_journal
from agenttune.change.kernel import Kernel
from agenttune.evaluate.arm import Arm
from agenttune.evaluate.comparison import BASELINE, BlockFigures, Comparison, Verdict, compare
from agenttune.evaluate.ground import HostGround
from agenttune.evaluate.rounds import run_rounds
from agenttune.evaluate.subject import BuiltIn, working
from agenttune.evaluate.workload import MIXES, Workload
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Plan
from agenttune.policy.profile import Profile

OTHER = "other"
SLOWDOWNS = {"aa": 0.0, "ab": 0.2}


class Ground(HostGround):
    """The other arm's only effect is the agent's own delay."""

    def __init__(self, subject: BuiltIn, share: float, seconds: float, settle_s: float) -> None:
        profile = Profile("none", "", agent_cpus=CpuMask.of([0]))
        super().__init__(
            *(Kernel(), subject, None, profile, None),
            seconds=seconds,
            settle_s=settle_s,
            stop=lambda: False,
        )
        self._agent, self._share = subject, share

    def plan(self, arm: Arm) -> Plan:
        self._agent.slow_down(self._share if arm.name == OTHER else 0.0)
        return super().plan(arm)


def evaluate_once(values: argparse.Namespace, seed: int) -> tuple[Comparison, ...]:
    """One whole evaluation: fresh processes, its own order, its own draws."""
    arms = (Arm(BASELINE, ""), Arm(OTHER, ""))
    workload = Workload(mix=values.mix, rate=values.rate, seed=seed)
    limit = values.rounds * 2 * (values.seconds + values.settle + 5) + 60
    with (
        tempfile.TemporaryDirectory() as state,
        working(workload, (), limit, Path(values.folder)) as subject,
        open_journal(Path(state) / "state") as journal,
    ):
        ground = Ground(subject, SLOWDOWNS[values.kind], values.seconds, values.settle)
        done = run_rounds(arms, values.rounds, ground, Kernel(), journal, seed=seed)
    rounds: dict[int, dict[str, BlockFigures]] = {}
    for block in done.blocks:
        rounds.setdefault(block.round, {})[block.arm] = BlockFigures(
            block.steps, block.quantiles_ns
        )
    return compare(OTHER, [rounds[number] for number in sorted(rounds)], seed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evaluate")
    parser.add_argument("kind", choices=tuple(SLOWDOWNS))
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--settle", type=float, default=0.2)
    parser.add_argument("--mix", choices=tuple(MIXES), default="tools")
    # With time between steps: a saturated agent would also lose its turn on the CPU.
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--folder", default=".", help="for the agent's data file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="every comparison, as JSON")
    values = parser.parse_args()
    found = []
    for number in range(1, values.repeat + 1):
        found.append(evaluate_once(values, seed=number))
        shown = "  ".join(
            f"{c.quantile} {c.ratio:.3f} ({c.low:.3f} to {c.high:.3f})"
            for c in found[-1]
            if c.ratio and c.low and c.high
        )
        print(f"{number:3} {shown}  {'DIFFERENT' if different(found[-1]) else '-'}", flush=True)
    if values.save:
        values.save.write_text(json.dumps([[asdict(c) for c in each] for each in found]) + "\n")
    return judge(values.kind, found)


def different(found: Sequence[Comparison]) -> bool:
    return any(each.verdict in (Verdict.FASTER, Verdict.SLOWER) for each in found)


def judge(kind: str, found: Sequence[Sequence[Comparison]]) -> int:
    truth = 1 + SLOWDOWNS[kind]
    count, seen = len(found), sum(map(different, found))
    intervals = [each for one in found for each in one if each.low and each.high]
    covered = sum(each.low <= truth <= each.high for each in intervals)  # type: ignore[operator]
    print(f"{seen} of {count} evaluations find a difference")
    print(f"{covered} of {len(intervals)} intervals hold the true ratio {truth:g}")
    held = seen <= 0.05 * count if kind == "aa" else seen >= 0.95 * count
    return 0 if held and covered >= 0.9 * len(intervals) else 1


if __name__ == "__main__":
    sys.exit(main())
