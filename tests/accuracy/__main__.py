# SPDX-License-Identifier: GPL-2.0-only
"""Injects stalls, has agenttune explain them, prints how often it was right.

Usage, as root, from the project's folder: python -m tests.accuracy [--kinds hog,peer]
[--repeat N] [--seed N] [--engine E] [--loop N] [--no-cross] [--results FILE] [--wrong]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from statistics import median

from . import cross, loop, machine, matrix, results, tables
from .kinds import NAMES
from .score import Verdict, rows, unconserved
from .subject import COMM
from .window import window

# What wakes often, after waits of all lengths.
CROSS_KINDS = ("hog", "peer", "futex", "timer", "pipe")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy")
    parser.add_argument("--kinds", default=",".join(NAMES), help="comma-separated")
    parser.add_argument("--repeat", type=int, default=80, metavar="N", help="injections of a kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--loop", type=int, default=200, metavar="N", help="steps of each worker")
    parser.add_argument("--no-cross", action="store_true", help="leave perf out")
    parser.add_argument("--results", type=Path, metavar="FILE", help="put the tables here")
    parser.add_argument("--wrong", action="store_true", help="print each wrong attribution")
    return parser.parse_args()


def show_wrong(verdicts: list[Verdict]) -> None:
    for each in verdicts:
        if not each.right:
            print(each.turn, each.named, each.step, sep="\n  ", end="\n\n")


def matrix_text(found: matrix.Outcome) -> str:
    injected = sum(turn.size_ns > 0 for turn in found.turns)
    bad = unconserved(found.trace)
    steps = len(found.trace.steps)
    judged, right = len(found.verdicts), sum(each.right for each in found.verdicts)
    errors = [error for each in found.verdicts if (error := each.error) is not None]
    coverage = found.trace.coverage
    parts = [
        f"{injected} injections; of {judged} steps judged, {tables.percent(right / judged)} right "
        f"(cause and culprit); median size error {tables.percent(median(errors))}.",
        tables.score_table(rows(found.turns, found.verdicts)),
        tables.confusion_table(found.verdicts),
        f"Conservation: {steps - len(bad)} of {steps} steps within 0.1 % or 2 us; the largest "
        f"residual is {max(abs(step.residual_ns) for step in found.trace.steps)} ns.",
        f"Events that the kernel kept to itself: {coverage.missed_switches} of "
        f"{coverage.switches} switches.",
        "The kernel's own accounting of the same steps:",
        tables.account_table(cross.accounts(found.turns, found.trace)),
    ]
    return "\n\n".join(parts)


def cross_text(repeat: int, seed: int, engine: str) -> str:
    switches = cross.Switches()
    found = matrix.measure(CROSS_KINDS, repeat, seed, engine, beside=cross.beside_perf(switches))
    return tables.cross_table(cross.against_perf(switches, COMM, found.trace))


def loop_text(steps: int, seed: int, engine: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        with window(Path(name), f"comm:{loop.COMM}", engine) as followed:
            calls = loop.run(steps, seed)
        return tables.loop_line(loop.score(calls, followed.trace()))


def main() -> None:
    args = parse()
    command = f"python -m tests.accuracy {shlex.join(sys.argv[1:])}".strip()
    texts = [f"## {machine.describe()}", f"`{command}`"]
    if args.kinds:
        found = matrix.measure(args.kinds.split(","), args.repeat, args.seed, args.engine)
        if args.wrong:
            show_wrong(found.verdicts)
        texts.append(matrix_text(found))
    if args.loop:
        texts.append(f"Asyncio: {loop_text(args.loop, args.seed, args.engine)}")
    if not args.no_cross:
        texts.append("perf in the same window (sched_waking, sched_switch):")
        texts.append(cross_text(args.repeat, args.seed, args.engine))
    text = "\n\n".join(texts)
    print(text)
    if args.results:
        results.write(args.results, text)


if __name__ == "__main__":
    main()
