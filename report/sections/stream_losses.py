"""What approximations of streams lose: J&F against an exact strategy's, or agreement with the oracle without truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from harness.row import SETTING
from harness.stats.interval import Interval
from harness.stats.means import mean_with_interval
from report.reading.run import Run, finite
from report.sections.points_table import streamed

MAX_LOSS = 0.5
"""Points of J&F (of 100) that an approximation may lose where nobody says."""
Kind = Literal["J&F", "IoU"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a point loses, in points of 100. of: J&F against the exact strategy's, or IoU with the oracle.

    points: the mean over objects of all videos, with its interval; each object is compared with itself.
    """

    of: Kind
    points: Interval

    def below(self, most: float) -> bool:
        """Return whether the whole interval is below ``most``."""
        return self.points.hi < most


def losses(run: Run) -> dict[str, Loss]:
    """Return what each point of a stream that is no exact one loses, by its name, where that can be told."""
    points = [row for row in run.rows.values() if streamed(row) and row["status"] == "ok"]
    found = {}
    for row in points:
        if not is_approximate(run, row):
            continue
        loss = _of_truth(run, row, points) or _of_agreement(run, row)
        if loss is not None:
            found[str(row["point"])] = loss
    return found


def in_points(loss: Loss) -> str:
    """Return a loss in words."""
    points = loss.points
    return f"{points.value:.2f} {loss.of} ({points.lo:.2f} to {points.hi:.2f})"


def is_approximate(run: Run, row: pd.Series) -> bool:
    """Return whether a point's strategy does not promise the masks of the session."""
    return run.of(row, "details", "stream", "exact") is False


def _of_truth(run: Run, row: pd.Series, points: list[pd.Series]) -> Loss | None:
    """Compare J&F, object by object, with that of an exact point of the same setting, which the session is, too."""
    exact = [one for one in points if not is_approximate(run, one) and _alike(one, row)]
    mine = _scores(run, row)
    for other in exact:
        theirs = _scores(run, other)
        if mine and mine.keys() == theirs.keys():
            points_lost = mean_with_interval([100 * (theirs[name] - mine[name]) for name in mine])
            return None if points_lost is None else Loss(of="J&F", points=points_lost)
    return None


def _alike(one: pd.Series, other: pd.Series) -> bool:
    names = (*SETTING, "objects")
    return all(one[name] == other[name] or (pd.isna(one[name]) and pd.isna(other[name])) for name in names)


def _scores(run: Run, row: pd.Series) -> dict[str, float]:
    """Return the J&F of each object, by "video/id"; none where a value is damaged."""
    stored = run.of(row, "details", "stream", "of_objects")
    if not isinstance(stored, dict):
        return {}
    found = {name: _mean(pair) for name, pair in stored.items()}
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == len(found) else {}


def _mean(pair: Any) -> float | None:
    values = [finite(value) for value in pair] if isinstance(pair, list) else []
    known = [value for value in values if value is not None]
    return sum(known) / 2 if len(known) == len(values) == 2 else None


def _of_agreement(run: Run, row: pd.Series) -> Loss | None:
    stored = run.of(row, "details", "stream", "free", "per_object")
    if not isinstance(stored, dict):
        return None
    ious = [finite(one.get("iou_mean")) if isinstance(one, dict) else None for one in stored.values()]
    points = mean_with_interval([100 * (1 - iou) for iou in ious if iou is not None])
    return None if points is None else Loss(of="IoU", points=points)
