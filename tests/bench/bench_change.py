#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the transaction costs: 1000 affinity changes against a bare loop of the same writes.

Usage, from the project's folder: python tests/bench/bench_change.py
Each side, apply and revert, starts with a fresh Kernel and opens the journal, as a process would;
the bare side writes the same files and syncs one. Rounds are interleaved. Exits 1 when the tree on
disk, in the default temporary directory, is over the limit; the one in memory is for scale.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from trees import make_tree  # noqa: E402

from agenttune.change.apply import apply  # noqa: E402
from agenttune.change.journal import open_journal  # noqa: E402
from agenttune.change.kernel import Kernel  # noqa: E402
from agenttune.change.revert import revert  # noqa: E402
from agenttune.errors import ExitCode  # noqa: E402
from agenttune.host.capture import read_host  # noqa: E402
from agenttune.host.cpumask import CpuMask  # noqa: E402
from agenttune.policy.plan import Change, Knob, KnobKind, Plan  # noqa: E402

CHANGES = 1000
ROUNDS = 9
MAX_RATIO = 3.0
WANTED = "1"


def make_plan(root: Path) -> Plan:
    vectors = [v for v in read_host(root).vectors if str(v.affinity) != WANTED][:CHANGES]
    assert len(vectors) == CHANGES
    changes = tuple(
        Change(
            Knob(KnobKind.VECTOR_AFFINITY, str(v.key)),
            str(v.affinity),
            WANTED,
            f"vector {v.irq} {v.key.action}",
            "it fires on the agent's cores 2-3",
            ("41 % of CPU 3's hardirq time",),
        )
        for v in vectors
    )
    return Plan("bench", None, CpuMask(), CpuMask(), CpuMask(), changes)


def bare(paths: Sequence[str], value: bytes, synced: Path) -> None:
    for path in paths:
        file = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(file, value)
        finally:
            os.close(file)
    with synced.open("wb") as record:
        record.write(value)
        record.flush()
        os.fsync(record.fileno())


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def apply_all(root: Path, state: Path, plan: Plan) -> None:
    with open_journal(state) as journal:
        assert apply(plan, Kernel(root), journal).txn is not None


def revert_all(root: Path, state: Path) -> None:
    with open_journal(state) as journal:
        assert revert(Kernel(root), journal).exit_code is ExitCode.OK


def compare(tree: Path, state: Path) -> tuple[list[float], list[float], list[float], list[float]]:
    """Seconds of each round: bare and apply, bare and revert."""
    make_tree(tree, cpus=8, nics=16, queues=70, nvme=0)
    plan = make_plan(tree)
    old = plan.changes[0].before.encode() + b"\n"
    host = read_host(tree)
    irqs = {str(vector.key): vector.irq for vector in host.vectors}
    paths = [
        f"{tree}/proc/irq/{irqs[change.knob.target]}/smp_affinity_list" for change in plan.changes
    ]
    state.mkdir(mode=0o700)
    synced = state / "bare"
    times: tuple[list[float], ...] = ([], [], [], [])
    for _ in range(ROUNDS):
        times[0].append(seconds(lambda: bare(paths, b"1\n", synced)))
        times[2].append(seconds(lambda: bare(paths, old, synced)))
        times[1].append(seconds(lambda: apply_all(tree, state, plan)))
        times[3].append(seconds(lambda: revert_all(tree, state)))
        for path in paths:
            assert Path(path).read_bytes() == old
    return times[0], times[1], times[2], times[3]


def main() -> int:
    worst = 0.0
    print("| tree and journal | verb | bare loop ms | agenttune ms | ratio | limit |")
    print("|---|---|---|---|---|---|")
    for name, place, limit in (("on disk", None, MAX_RATIO), ("in memory", "/dev/shm", None)):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            rows = compare(Path(folder) / "root", Path(folder) / "state")
        for verb, plain, done in (("apply", *rows[:2]), ("revert", *rows[2:])):
            ratio = median(done) / median(plain)
            worst = max(worst, ratio if limit else 0.0)
            print(
                f"| {name} | {verb} | {median(plain) * 1e3:.1f} | {median(done) * 1e3:.1f} | "
                f"{ratio:.2f} | {limit or '-'} |"
            )
    return int(worst > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
