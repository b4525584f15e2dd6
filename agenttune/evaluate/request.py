# SPDX-License-Identifier: GPL-2.0-only
"""Request: one evaluation as asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agenttune.evaluate.arm import Arm
from agenttune.evaluate.noise import Noise
from agenttune.evaluate.workload import Workload
from agenttune.host.selector import Selector
from agenttune.policy.profile import Profile


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate and how; `attach` empty: the built-in agent with `workload` and `noise`."""

    profile: Profile
    command: str
    arms: tuple[str, ...] = ()
    external: tuple[Arm, ...] = ()
    rounds: int = 12
    seconds: float = 10.0
    settle_s: float = 1.0
    guard: float | None = None
    seed: int = 1
    workload: Workload = field(default_factory=Workload)
    noise: tuple[Noise, ...] = ()
    attach: tuple[Selector, ...] = ()
    engine: str = "auto"
    out: Path = Path()
