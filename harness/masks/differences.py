"""Differences of pairs from what was expected, as numbers of each pair and as quantiles over pairs.

A number is NaN where there is nothing to compare, as the logits behind a closed gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.masks.rule import HIGH, Differences, Distances

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CallDifferences:
    """Differences of each pair of one call of a strategy, ``[T, O]``.

    mask_ious: the IoUs of masks; NaN where a choice is flipped and not settled. logits: relative to the pair's largest;
    NaN there too, and behind closed gates. scores: of object scores. predicted_ious: the largest of a pair's.
    """

    mask_ious: Numbers
    logits: Numbers
    scores: Numbers
    predicted_ious: Numbers


@dataclass(frozen=True, kw_only=True)
class ObjectDifferences:
    """Differences of one object over all of its targets.

    logits, least_mask_iou: without pairs in which there is nothing to compare; the IoU is 1 where that leaves none.
    """

    logits: Numbers
    scores: Numbers
    predicted_ious: Numbers
    least_mask_iou: float

    @staticmethod
    def of(calls: Sequence[CallDifferences], index: int) -> ObjectDifferences:
        """Gather one object's numbers from the calls of its group."""

        def column(of: Callable[[CallDifferences], Numbers]) -> Numbers:
            return np.concatenate([of(call)[:, index] for call in calls])

        logits, mask_ious = column(lambda call: call.logits), column(lambda call: call.mask_ious)
        return ObjectDifferences(
            logits=logits[~np.isnan(logits)],
            scores=column(lambda call: call.scores),
            predicted_ious=column(lambda call: call.predicted_ious),
            least_mask_iou=float(mask_ious[~np.isnan(mask_ious)].min(initial=1.0)),
        )


def differences_of(objects: Sequence[ObjectDifferences]) -> Differences:
    """Return the quantiles over all pairs of some objects; they are 0 where nothing was compared."""
    return Differences(
        logits=_distances([one.logits for one in objects]),
        scores=_distances([one.scores for one in objects]),
        ious=_distances([one.predicted_ious for one in objects]),
    )


def _distances(objects: list[Numbers]) -> Distances:
    shown = [one for one in objects if one.size]
    if not shown:
        return Distances(median=0.0, high=0.0, largest=0.0, object=0.0)
    values = np.concatenate(shown)
    return Distances(
        median=_quantile(values, 0.5),
        high=_high(values),
        largest=float(values.max()),
        object=max(_quantile(one, 0.5) for one in shown),
    )


def _high(values: Numbers) -> float:
    """Return the quantile `HIGH`, or the second largest of so few values that the largest alone would decide it."""
    if values.size < 2:
        return _quantile(values, HIGH)
    return min(_quantile(values, HIGH), float(np.partition(values, -2)[-2]))


def _quantile(values: Numbers, share: float) -> float:
    """Return the least value that at least this share of all does not exceed.

    It is one of the values, and no mean of two, so infinity is no trouble.
    """
    return float(np.quantile(values, share, method="inverted_cdf"))
