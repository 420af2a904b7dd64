"""How far an exact strategy's masks may be from others by their mean IoU alone, where pixels are all there is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

LEAST_LOSS, TIMES = 0.005, 4.0
"""The mean IoU of an exact strategy's masks may miss 1 by so much, or by so many times what its noise floor misses."""


def mean_iou_limit(floor: Sequence[float]) -> float:
    """Return the least mean IoU of an exact strategy's masks. floor: the IoUs that noise alone leaves."""
    return 1 - max(LEAST_LOSS, TIMES * (1 - fmean(floor)) if floor else 0.0)
