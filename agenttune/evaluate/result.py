# SPDX-License-Identifier: GPL-2.0-only
"""Result: everything that an evaluation found, as frozen values; results.json is this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agenttune.evaluate.comparison import BASELINE, Comparison, Figure
from agenttune.evaluate.disturbances import Disturbances
from agenttune.evaluate.workload import Workload
from agenttune.measure.histogram import Histogram
from agenttune.policy.plan import Change


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agent's own timestamps beside the kernel's, of one block.

    `matched` steps are in both, of `app` and `kernel`; `outside` are those whose kernel interval
    is not within the agent's, as it must be. `overhead_ns`: by how much the agent's is longer.
    """

    app: int
    kernel: int
    matched: int
    outside: int
    overhead_ns: Histogram

    @property
    def good(self) -> bool:
        return self.outside == 0


@dataclass(frozen=True, slots=True)
class Attribution:
    """What the kernel side saw in one block. Histograms are in ns.

    `wakeups`: interrupt entry → the agent runs, of completions that ended a wait. `softirqs`: runs
    of any softirq on the agent's CPUs. `small_io`: block requests of at most 64 KiB that the agent
    waited for, issue → completion. `slow_*`: the slowest 1 % of the steps, and where their time
    went in Bucket's order. At most 8 waits of a step are known by themselves.
    """

    wakeups: Histogram
    softirqs: Histogram
    small_io: Histogram
    slow_steps: int
    slow_ns: int
    slow_buckets_ns: tuple[int, ...]
    migrations: int
    missed_switches: int
    lost: int
    agreement: Agreement | None


@dataclass(frozen=True, slots=True)
class Block:
    """One arm in one round. `interrupts`: label → CPU → how often it came in the block."""

    round: int
    arm: str
    begin_ns: int
    end_ns: int
    steps: int
    quantiles_ns: tuple[int | None, ...]
    durations: Histogram
    disturbances: Disturbances
    interrupts: Mapping[str, Mapping[int, int]]
    attribution: Attribution | None

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


@dataclass(frozen=True, slots=True)
class ArmResult:
    """`unavailable` says why an arm was not run, or not to the end; it then has no figures."""

    name: str
    what: str
    unavailable: str = ""
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it ran. None: the host does not tell."""

    kernel: str
    cpu: str | None
    online: str
    hypervisor: bool | None
    governor: str | None
    writers: tuple[str, ...]
    agenttune: str
    python: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for. `guard` None: no bound. `workload` None: a live agent was attached to."""

    profile: str
    rounds: int
    seconds: float
    settle_s: float
    seed: int
    guard: float | None
    workload: Workload | None
    noise: tuple[str, ...]
    selectors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`stopped` says why the rounds ended early; only complete rounds count.

    `not_observable` lists what this kernel cannot show. `level`: all intervals of one arm hold
    together with this probability.
    """

    command: str
    settings: Settings
    environment: Environment
    agent_cpus: str
    level: float
    rounds: int
    arms: tuple[ArmResult, ...]
    blocks: tuple[Block, ...]
    stopped: str = ""
    not_observable: tuple[str, ...] = ()

    def arm(self, name: str) -> ArmResult:
        """Raises StopIteration for one that was not asked for."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def ran(self) -> tuple[ArmResult, ...]:
        """The arms with figures, baseline first."""
        found = [arm for arm in self.arms if not arm.unavailable]
        return tuple(sorted(found, key=lambda arm: arm.name != BASELINE))

    def blocks_of(self, arm: str) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.arm == arm)
