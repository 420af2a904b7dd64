"""The mean of a few values with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from harness.stats.interval import Interval

LEAST_VALUES = 3
"""With fewer values there is no telling how far they scatter."""
DRAWS = 4000


def mean_with_interval(values: Sequence[float], *, seed: int = 0) -> Interval | None:
    """Return the mean with its seeded 95 % bootstrap interval; None of fewer than `LEAST_VALUES` values."""
    if len(values) < LEAST_VALUES:
        return None
    drawn = np.random.default_rng(seed).choice(np.asarray(values, dtype=float), size=(DRAWS, len(values)))
    lo, hi = (float(end) for end in np.percentile(drawn.mean(axis=1), (2.5, 97.5)))
    mean = fmean(values)
    return Interval(value=mean, lo=min(lo, mean), hi=max(hi, mean))
