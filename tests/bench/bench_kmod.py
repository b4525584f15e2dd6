#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the module costs: a wakeup by who is attached, and a mark by how it is made.

Usage, in a guest: vm/run --icount -- VENV/bin/python tests/bench/bench_kmod.py [ROUNDS]
All rows are interleaved in each round, on one CPU; a ratio is taken within its round. Prints tables
for kmod/RESULTS.md. With --icount the clock counts instructions; without, it is an emulator's time,
with what other programs took from it. Needs gcc and the module's build for the running kernel
(vm/build-module).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/kmod"), str(ROOT / "tests")]

from guest import guest_pairs  # noqa: E402
from loading import KernelModule, module_of  # noqa: E402

CPU, WAKEUPS, MARKS, OTHERS = 1, 3000, 20_000, 64

Rows = dict[str, list[float]]


def build(folder: Path) -> Path:
    program = folder / "loop"
    source = ROOT / "tests/bench/kmod_loop.c"
    include = f"-I{ROOT / 'kmod/uapi'}"
    subprocess.run(["gcc", "-O2", "-pthread", include, source, "-o", program], check=True)
    return program


def run(program: Path, *words: object) -> float:
    command = ["taskset", "-c", str(CPU), str(program), *map(str, words)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def held(program: Path) -> Iterator[None]:
    """Other threads are attached meanwhile, and sleep."""
    command = ["taskset", "-c", "0", str(program), "hold", str(OTHERS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield
        assert holder.stdin
        holder.stdin.close()


def wakeups(way: str, program: Path, module: KernelModule) -> Iterator[tuple[str, float]]:
    def loop(mode: str) -> float:
        return run(program, way, WAKEUPS, mode)

    with module.away():
        yield "no module", loop("none")
    yield "module, no agent", loop("none")
    with held(program):
        yield f"{OTHERS} other agents", loop("none")
        yield f"an agent among {OTHERS}", loop("agent")
        yield "an agent in a step", loop("step")


def marks(program: Path, module: KernelModule) -> Iterator[tuple[str, float]]:
    with module.away():
        yield "prctl, no module", run(program, "mark", MARKS, "bare")
    yield "prctl, attached", run(program, "mark", MARKS, "prctl")
    yield "store with clock, attached", run(program, "mark", MARKS, "store")


def table(unit: str, rows: Rows, clock: str) -> None:
    baseline = next(iter(rows.values()))
    print(f"| | {clock} per {unit}, median | ratio, median | least | most |")
    print("|---|---|---|---|---|")
    for name, values in rows.items():
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        print(f"| {name} | {median(values):.0f} | {median(ratios):.2f} ", end="")
        print(f"| {min(ratios):.2f} | {max(ratios):.2f} |")
    print()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    facts = guest_pairs()
    module = module_of(facts["kernel"])
    module.load()
    parts: dict[str, Callable[[Path, KernelModule], Iterator[tuple[str, float]]]]
    parts = {
        "wakeup by a task": partial(wakeups, "pipe"),
        "wakeup in NET_RX": partial(wakeups, "packet"),
        "mark": marks,
    }
    found: dict[str, Rows] = {unit: {} for unit in parts}
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for _ in range(rounds):
            for unit, part in parts.items():
                for name, value in part(program, module):
                    found[unit].setdefault(name, []).append(value)
    print(f"{os.uname().release}, {facts['accelerator']}, {rounds} rounds\n")
    clock = "instructions" if facts["accelerator"] == "icount" else "ns"
    for unit, rows in found.items():
        table(unit, rows, clock)
    module.unload()


if __name__ == "__main__":
    main()
