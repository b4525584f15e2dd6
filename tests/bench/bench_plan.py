#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long make_plan takes for 1024 CPUs with up to 8192 vectors.

Usage, from the project's folder: python tests/bench/bench_plan.py
Each size runs in a process of its own, so that its peak memory is its own. Exits 1 over a limit.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from trees import make_tree  # noqa: E402

from agenttune.host.capture import read_host  # noqa: E402
from agenttune.host.cpumask import CpuMask  # noqa: E402
from agenttune.host.host import Cpu, Host, Movability, Topology, Vector, VectorKey  # noqa: E402
from agenttune.measure.measurement import Coverage, Measurement, VectorLoad  # noqa: E402
from agenttune.policy.plan import Plan  # noqa: E402
from agenttune.policy.planner import make_plan  # noqa: E402
from agenttune.policy.profile import Placement, Profile  # noqa: E402

CPUS = 1024
NODES = 8
L3_CPUS = 16
SIZES = (1024, 2048, 4096, 8192)
ROUNDS = 5
MAX_SECONDS = 1.0
MAX_MIB = 200.0
# Time per vector at the largest size, relative to that at the smallest.
MAX_GROWTH = 1.5
AGENT = CpuMask.of(range(16))
PROFILE = Profile("bench", "", agent_cpus=AGENT, placement=Placement.AWAY, default_affinity=True)


def make_host(vectors: int) -> Host:
    """All masks wide, so every vector changes; one in four fires on the agent and must move."""
    half = CPUS // 2
    siblings = [CpuMask.of((core, core + half)) for core in range(half)]
    l3s = [
        CpuMask.of(c for c in range(CPUS) if c % half // (L3_CPUS // 2) == group)
        for group in range(CPUS // L3_CPUS)
    ]
    cpus = tuple(
        Cpu(
            cpu,
            online=True,
            core=cpu % half,
            node=cpu % half * NODES // half,
            siblings=siblings[cpu % half],
            l3=l3s[cpu % half // (L3_CPUS // 2)],
        )
        for cpu in range(CPUS)
    )
    online = CpuMask.of(range(CPUS))
    rows = tuple(_vector(irq, online) for irq in range(vectors))
    topology = Topology(cpus, online, isolated=CpuMask(), nohz_full=CpuMask())
    return Host("/", False, "6.12.0", "boot", topology, rows, default_affinity=online)


def _vector(irq: int, online: CpuMask) -> Vector:
    device = irq // 64
    here = irq % 16 if irq % 4 == 0 else irq * 7 % CPUS
    return Vector(
        irq=irq,
        key=VectorKey(f"{device // 32:04x}:{device % 32:02x}:00.0", irq % 64, f"eth{device}-{irq}"),
        movability=Movability.MOVABLE,
        interface=f"eth{device}",
        queue=irq % 64,
        node=device % NODES,
        affinity=online,
        effective=CpuMask.of([here]),
        counts={here: irq, (here + 5) % CPUS: 3},
    )


def make_measurement(host: Host) -> Measurement:
    loads = tuple(
        VectorLoad(v.irq, v.key, cpu, 10 + v.irq, 1000 * v.irq)
        for v in host.vectors
        for cpu in v.counts or ()
    )
    return Measurement(
        10_000_000_000, "boot", "6.12.0", "bench", (), str(host.topology.online), loads,
        (), (), (), (), (), Coverage(0, 0, 0),
    )  # fmt: skip


def run_planner(vectors: int) -> dict[str, float]:
    """The best of some rounds, in seconds; peak memory of the process, in MiB."""
    host = make_host(vectors)
    loads = make_measurement(host)
    seconds = []
    for _ in range(ROUNDS):
        gc.collect()
        start = time.perf_counter()
        plan = make_plan(host, PROFILE, loads)
        seconds.append(time.perf_counter() - start)
    return _result(min(seconds), max(seconds), plan)


def run_capture(tree: Path) -> dict[str, float]:
    """One read_host with make_plan, cold but for the page cache."""
    start = time.perf_counter()
    plan = make_plan(read_host(tree), PROFILE)
    seconds = time.perf_counter() - start
    return _result(seconds, seconds, plan)


def _result(best: float, worst: float, plan: Plan) -> dict[str, float]:
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"best": best, "worst": worst, "mib": peak_mib, "changes": len(plan.changes)}


def child(*args: str) -> dict[str, float]:
    command = [sys.executable, __file__, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout)


def main() -> int:
    print(f"`python tests/bench/bench_plan.py`: {CPUS} CPUs, {NODES} nodes, {ROUNDS} rounds\n")
    print("| vectors | changes | best | worst | us per vector | peak memory |")
    print("|---:|---:|---:|---:|---:|---:|")
    within = True
    per_vector = []
    for vectors in SIZES:
        row = child("plan", str(vectors))
        within &= row["worst"] <= MAX_SECONDS and row["mib"] <= MAX_MIB
        per_vector.append(1e6 * row["best"] / vectors)
        print(_row(str(vectors), row, f"{per_vector[-1]:.1f}"))
    growth = per_vector[-1] / per_vector[0]
    within &= growth <= MAX_GROWTH
    with tempfile.TemporaryDirectory() as folder:
        # 16 NICs of 511 queues, with one vector more each: 8192 vectors.
        make_tree(
            Path(folder), cpus=CPUS, nodes=NODES, smt=2, l3=L3_CPUS, nics=16, queues=511, nvme=0
        )
        row = child("capture", folder)
    print(_row("8192, read from a tree", row, f"{1e6 * row['best'] / 8192:.1f}"))
    print(
        f"\ntime per vector grows by {growth:.2f} times; limits {MAX_SECONDS} s, "
        f"{MAX_MIB:.0f} MiB, {MAX_GROWTH} times: {'met' if within else 'NOT met'}"
    )
    return 0 if within else 1


def _row(name: str, row: dict[str, float], per_vector: str) -> str:
    return (
        f"| {name} | {row['changes']:.0f} | {row['best']:.3f} s | {row['worst']:.3f} s "
        f"| {per_vector} | {row['mib']:.0f} MiB |"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["plan"]:
        print(json.dumps(run_planner(int(sys.argv[2]))))
    elif sys.argv[1:2] == ["capture"]:
        print(json.dumps(run_capture(Path(sys.argv[2]))))
    else:
        sys.exit(main())
