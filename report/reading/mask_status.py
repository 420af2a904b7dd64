"""Whether a point's masks count as those of `sequential`, by its row, or in old runs by the rule of that time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.masks.rule import ALIKE
from harness.row import Masks
from report.reading.run import Run, dig, finite

OLD_RULE = (("typical_dlogit", "typical_dlogit"), ("relative_dlogit", "largest_dlogit"))
"""Each of these numbers of an agreement must not exceed that limit."""


def masks_of(run: Run, row: pd.Series) -> Masks | None:
    """Return a row's mask status, or None where masks were not compared or that is unknown.

    Masks that differ in fp32 differ, although reduced precision may hide it.
    """
    return "differ" if row["fp32_masks"] == "differ" else masks_in_own_dtype(run, row)


def masks_in_own_dtype(run: Run, row: pd.Series) -> Masks | None:
    """Return the same for the dtype alone that the point was measured in."""
    match row["masks"]:
        case "same" | "differ" as status:
            return status
    return _of_old_run(run, row)


def _of_old_run(run: Run, row: pd.Series) -> Masks | None:
    """Return the mask status in a run whose rows lack it, by the agreement that its files hold."""
    if row["status"] == "wrong":
        return "differ"
    if row["status"] != "ok":
        return None
    agreed, limits = (run.of(row, "details", name) for name in ("agreement", "limits"))
    status = _by_old_rule(agreed, limits)
    return _by_columns(row) if status is None else status


def _by_old_rule(agreed: Any, limits: Any) -> Masks | None:
    """Return the mask status by the rule of that time; None where its numbers are missing or damaged."""
    flips, excused = (finite(dig(agreed, name)) for name in ("gate_flips", "excused_flips"))
    picks = finite(dig(agreed, "pick_flips"))
    pairs = [(finite(dig(agreed, name)), finite(dig(limits, most))) for name, most in OLD_RULE]
    least = finite(dig(agreed, "iou_alike")), finite(dig(limits, "iou"))
    if flips is None or picks is None or excused is None or None in least or any(None in pair for pair in pairs):
        return None
    within = all(value <= most for value, most in pairs if value is not None and most is not None)
    alike = least[0] is not None and least[1] is not None and least[0] >= least[1]
    return "same" if within and alike and excused >= flips + picks else "differ"


def _by_columns(row: pd.Series) -> Masks | None:
    """Return the mask status by the columns alone, which can't show which flips are noise in reduced precision."""
    if any(pd.isna(row[name]) for name in ("iou_min", "gate_flips", "pick_flips")):
        return None
    if row["iou_min"] >= ALIKE and row["gate_flips"] == row["pick_flips"] == 0:
        return "same"
    return "differ" if row["dtype"] == "fp32" else None
