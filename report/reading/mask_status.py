"""Whether a point's masks count as those of `sequential`, by its row, or in old runs by the harness's rule again."""

from __future__ import annotations

import pandas as pd

from harness.masks.rule import ALIKE, Agreement, Limits, disagreement
from harness.row import Masks
from report.reading.run import Run


def masks_of(run: Run, row: pd.Series) -> Masks | None:
    """Return a row's mask status, or None where masks were not compared or that is unknown."""
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
    try:
        agreed, limits = Agreement(**run.of(row, "details", "agreement")), Limits(**run.of(row, "details", "limits"))
        fault = disagreement(agreed, limits)
    except TypeError:  # They are missing, damaged, or of another version.
        return _by_columns(row)
    return "same" if fault is None else "differ"


def _by_columns(row: pd.Series) -> Masks | None:
    """Return the mask status by the columns alone, which can't show which flips are noise in reduced precision."""
    if row[["iou_min", "gate_flips", "pick_flips"]].isna().any():
        return None
    if row["iou_min"] >= ALIKE and row["gate_flips"] == row["pick_flips"] == 0:
        return "same"
    return "differ" if row["dtype"] == "fp32" else None
