# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic evaluations: steps of blocks on a machine that drifts, with a known true ratio."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from agenttune.evaluate.comparison import BASELINE, BlockFigures, Round
from agenttune.evaluate.quantiles import quantiles


def synthetic_rounds(
    rng: np.random.Generator,
    *,
    slowdown: float = 1.0,
    rounds: int = 12,
    steps: int = 1200,
    arms: tuple[str, ...] = ("other",),
) -> list[Round]:
    """Steps around 1 ms: a lognormal body, 2 % stalls, autocorrelated, and blocks that differ.

    A round has a level of its own (others use the machine), each block one more, and a block in
    ten meets a burst that lengthens its tail.
    """
    found = []
    for _ in range(rounds):
        level = rng.normal(0, 0.15)
        blocks = {}
        for arm in (BASELINE, *arms):
            scale = slowdown if arm != BASELINE else 1.0
            blocks[arm] = synthetic_block(rng, level, scale, steps)
        found.append(blocks)
    return found


def synthetic_block(
    rng: np.random.Generator, level: float, scale: float, steps: int
) -> BlockFigures:
    shift = level + rng.normal(0, 0.04)
    kicks = rng.normal(0, np.sqrt(1 - 0.6**2), steps)
    noise = lfilter([1], [1, -0.6], kicks)
    ns = 1e6 * np.exp(0.3 * noise + shift)
    stalls = rng.random(steps) < (0.06 if rng.random() < 0.1 else 0.02)
    ns[stalls] *= 1 + rng.pareto(2.5, int(stalls.sum()))
    return BlockFigures(steps, quantiles((ns * scale).astype(int).tolist()))
