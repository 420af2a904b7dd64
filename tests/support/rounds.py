"""Log-ratios of rounds: those that hypothesis draws, and noise whose true value is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

from harness.stats.speedup import (
    SpeedUp,
)

quick = settings(deadline=None, derandomize=True, max_examples=60)

SIMULATIONS = 500
NOISE = 0.02
"""Standard deviation of a block's log-time in simulated rounds."""

Noise = Literal["normal", "laplace", "outliers"]
NOISES: list[Noise] = ["normal", "laplace", "outliers"]


def groups_of(rounds: st.SearchStrategy[list[float]]) -> st.SearchStrategy[tuple[list[list[float]], list[float]]]:
    """Draw up to 4 groups of rounds, and as many weights that differ."""
    weights = st.lists(st.integers(1, 50).map(float), min_size=4, max_size=4, unique=True)
    return st.tuples(st.lists(rounds, min_size=1, max_size=4), weights).map(
        lambda both: (both[0], both[1][: len(both[0])])
    )


GROUPS = groups_of(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
MEASURED = groups_of(st.lists(st.floats(-2, 2), min_size=2, max_size=8))
"""Groups that have an interval."""


def numbers(speedup: SpeedUp) -> tuple[float, float, float]:
    """Return the lower end, ratio and upper end of a speed-up that has an interval."""
    assert speedup.lo is not None
    assert speedup.hi is not None
    return speedup.lo, speedup.ratio, speedup.hi


def simulated(noise: Noise, *, groups: int, rounds: int) -> npt.NDArray[np.float64]:
    """Draw log-ratios ``[simulation, group, round]`` of a strategy against itself, whose true value is 0."""
    random = np.random.default_rng(7)
    shape = (SIMULATIONS, groups, rounds)
    if noise == "normal":
        return random.normal(scale=NOISE, size=shape)
    if noise == "laplace":
        return random.laplace(scale=NOISE, size=shape)
    scale = NOISE * np.where(random.random(shape) < 0.1, 10, 1)  # One round in ten is ten times noisier.
    blocks = np.exp(scale * random.normal(size=(4, *shape)))
    return np.log((blocks[0] + blocks[3]) / (blocks[1] + blocks[2]))
