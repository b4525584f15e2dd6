# SPDX-License-Identifier: GPL-2.0-only
"""Subject: the agent that meets the injections, and its own account of each step."""

from __future__ import annotations

import atexit
import functools
import math
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .kinds import QUIET, Kind
from .places import place_of

SOURCES = Path(__file__).parent / "injectors"
COMM = "at-subject"
# One step in so many is left alone.
QUIET_EVERY = 5
# A kind whose process takes longer is stuck.
LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Turn:
    """One step as its subject and its injector saw it; ns on CLOCK_MONOTONIC.

    `truth_ns` is the size of the injected cause; `check_ns` the same by another witness, or 0.
    `delay_ns` and `cpu_ns` are the kernel's own counts (schedstat, thread CPU time) over the
    step. `late`: the injection missed the step.
    """

    kind: str
    id: int
    size_ns: int
    begin_ns: int
    end_ns: int
    truth_ns: int
    check_ns: int
    cpu_ns: int
    delay_ns: int
    gap_ns: int
    late: bool
    tid: int | None
    comm: str | None

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.begin_ns


@dataclass(frozen=True, slots=True)
class Setting:
    """Where injections happen: the subject's CPU, another one, the time an order needs."""

    program: Path
    cpu: int
    other: int
    lead_us: int


@functools.cache
def compile_subject() -> Path:
    """Once for each process, as that takes long on an emulated machine. Needs cc."""
    folder = Path(tempfile.mkdtemp(prefix="at-accuracy-"))
    atexit.register(shutil.rmtree, folder)
    program = folder / "subject"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", program, *sorted(SOURCES.glob("*.c"))], check=True)
    return program


def setting(program: Path, slow: bool) -> Setting:
    """The first two CPUs; `slow`: an emulated machine, where each hand-over takes longer."""
    cpus = sorted(os.sched_getaffinity(0))
    assert len(cpus) > 1, "injections need two CPUs"
    return Setting(program, cpus[0], cpus[1], 10_000 if slow else 200)


def sizes(kind: Kind, count: int, seed: int, scale: int) -> list[int]:
    """`count` sizes in ns, and a 0 for every QUIET_EVERY steps: one that is left alone."""
    draw = random.Random(f"{kind.name} {seed}")
    low, high = math.log(kind.least_ns * scale), math.log(kind.most_ns * scale)
    found: list[int] = []
    for index in range(count):
        found.append(int(math.exp(draw.uniform(low, high))))
        if index % QUIET_EVERY == 0:
            found.append(0)
    return found


def run(where: Setting, kind: Kind, wanted: Sequence[int], first_id: int) -> list[Turn]:
    """One process that takes a step for each wanted size. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder, place_of(kind.name, where.cpu) as place:
        plan, out = Path(folder) / "plan", Path(folder) / "out"
        plan.write_text("".join(f"{first_id + n} {size}\n" for n, size in enumerate(wanted)))
        command = [where.program, kind.name, where.cpu, where.other, where.lead_us, place]
        subprocess.run([*map(str, command), plan, out], check=True, timeout=LIMIT_S)
        return [_turn(kind.name, line) for line in out.read_text().splitlines()]


def _turn(kind: str, line: str) -> Turn:
    *numbers, comm = line.split()
    identity, size, begin, end, truth, check, cpu, delay, gap, late, tid = map(int, numbers)
    return Turn(
        kind=kind if size else QUIET,
        id=identity,
        size_ns=size,
        begin_ns=begin,
        end_ns=end,
        truth_ns=truth,
        check_ns=check,
        cpu_ns=cpu,
        delay_ns=delay,
        gap_ns=gap,
        late=bool(late),
        tid=tid or None,
        comm=None if comm == "-" else comm,
    )
