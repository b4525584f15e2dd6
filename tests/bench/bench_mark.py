#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a step mark costs while nobody traces, against a bare failed prctl in the same language.

Usage, from the project's folder: python tests/bench/bench_mark.py [ROUNDS]
CPU time on one CPU; the rounds of all rows are interleaved, ratios are taken within a round. Needs
clang. Prints a table for RESULTS.md; exits 1 over a limit.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from agenttune import step  # noqa: E402

CPU = 1
PYTHON_LOOPS = 50_000
IMPORTS = 15
MAX_RATIO = 2.0
WORD = 0x7F0123456789 << 16 | 0x101

C_PROGRAM = r"""
#include "agenttune.h"
#include <stdio.h>
#include <time.h>
#define LOOPS 500000
#define TIMED(code) ({ double begin = now(); \
	for (unsigned long i = 1; i <= LOOPS; i++) { code; } (now() - begin) / LOOPS / 2; })

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(void)
{
	double bare = TIMED(prctl(0x41475354, 1, i, 0, 0); prctl(0x41475354, 2, i, 0, 0));
	double mark = TIMED(agenttune_begin(i, AGENTTUNE_TOOL, "search", 0, 0); agenttune_end(i));

	return printf("%f %f\n", bare, mark) < 0;
}
"""


def build(folder: Path) -> Path:
    source = folder / "mark.c"
    source.write_text(C_PROGRAM)
    include = f"-I{ROOT / 'agenttune/include'}"
    subprocess.run(["clang", "-O2", include, source, "-o", folder / "mark"], check=True)
    return folder / "mark"


def bare_prctl(library: type[ctypes.CDLL]) -> Callable[[], None]:
    prctl = library(None).prctl
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    prctl.restype = None

    def loop() -> None:
        for number in range(PYTHON_LOOPS):
            prctl(0x41475354, WORD, number, 0, 0)
            prctl(0x41475354, 2, number, 0, 0)

    return loop


def ready_words() -> Callable[[], None]:
    """The fastest call: no word is made during it."""
    prctl = ctypes.PyDLL(None).prctl
    prctl.restype = None
    begin, end, number, none = map(ctypes.c_ulong.from_param, (WORD, 2, 5, 0))

    def loop() -> None:
        for _ in range(PYTHON_LOOPS):
            prctl(0x41475354, begin, number, none, none)
            prctl(0x41475354, end, number, none, none)

    return loop


def plain_step() -> None:
    for _ in range(PYTHON_LOOPS):
        with step("search", kind="tool"):
            pass


def limited_step() -> None:
    for _ in range(PYTHON_LOOPS):
        with step("search", kind="tool", deadline=2.0, budget=0.5):
            pass


@step("search", kind="tool")
def nothing() -> None:
    pass


def decorated() -> None:
    for _ in range(PYTHON_LOOPS):
        nothing()


def mark_ns(loop: Callable[[], None]) -> float:
    begin = time.process_time_ns()
    loop()
    return (time.process_time_ns() - begin) / PYTHON_LOOPS / 2


ROWS: dict[str, Callable[[], None]] = {
    "Python, bare prctl (ctypes.PyDLL)": bare_prctl(ctypes.PyDLL),
    "Python, bare prctl (ctypes.CDLL)": bare_prctl(ctypes.CDLL),
    "Python, bare prctl, its words made beforehand": ready_words(),
    "Python, with step(name, kind)": plain_step,
    "Python, with step(name, kind, deadline, budget)": limited_step,
    "Python, @step(name, kind)": decorated,
}
BASES = {"C": "C, bare prctl", "Python": "Python, bare prctl (ctypes.PyDLL)"}
LIMITED = ("C, agenttune.h", "Python, with step(name, kind)")


def one_round(program: Path) -> dict[str, float]:
    run = subprocess.run([program], capture_output=True, text=True, check=True)
    bare, header = map(float, run.stdout.split())
    found = {"C, bare prctl": bare, "C, agenttune.h": header}
    return found | {name: mark_ns(loop) for name, loop in ROWS.items()}


def ratio(rounds: list[dict[str, float]], name: str) -> float:
    base = BASES[name.split(",")[0]]
    return median(found[name] / found[base] for found in rounds)


def import_ms() -> float:
    """CPU time of an interpreter that imports agenttune, less one that does not."""

    def run(program: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-I", "-c", program], check=True)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - (before.children_user + before.children_system)
        )

    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    added = [run(f"{path}; import agenttune") - run(path) for _ in range(IMPORTS)]
    return sum(added) / len(added) * 1e3


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    os.sched_setaffinity(0, {CPU})
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        rounds = [one_round(program) for _ in range(count)]
    print("| a mark | ns | ratio to bare | limit |\n|---|---:|---:|---:|")
    for name in rounds[0]:
        ns = median(found[name] for found in rounds)
        limit = f"{MAX_RATIO}" if name in LIMITED else "-"
        print(f"| {name} | {ns:.0f} | {ratio(rounds, name):.2f} | {limit} |")
    print(f"\n`import agenttune` adds {import_ms():.1f} ms of CPU time to a bare interpreter.")
    return int(any(ratio(rounds, name) > MAX_RATIO for name in LIMITED))


if __name__ == "__main__":
    raise SystemExit(main())
