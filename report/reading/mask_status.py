"""Whether a point's masks count as those of `sequential`, as its row tells; in old runs by the harness's rule again."""

from __future__ import annotations

import pandas as pd

from harness.masks.rule import ALIKE, Agreement, Limits, disagreement
from harness.row import Masks
from report.reading.run import Run


def masks_of(run: Run, row: pd.Series) -> Masks | None:
    """None where they were not compared, or nobody knows."""
    match row["masks"]:
        case "same" | "differ" as told:
            return told
    return _of_old_run(run, row)


def _of_old_run(run: Run, row: pd.Series) -> Masks | None:
    """Of a run whose rows do not tell: by what its files hold of the agreement."""
    if row["status"] == "wrong":
        return "differ"
    if row["status"] != "ok":
        return None
    try:
        agreed, limits = Agreement(**run.of(row, "details", "agreement")), Limits(**run.of(row, "details", "limits"))
        fault = disagreement(agreed, limits)
    except TypeError:  # missing, damaged, or of another version
        return _by_columns(row)
    return "same" if fault is None else "differ"


def _by_columns(row: pd.Series) -> Masks | None:
    """In reduced precision a few flips are noise, and the columns can't tell which."""
    if row[["iou_min", "gate_flips", "pick_flips"]].isna().any():
        return None
    if row["iou_min"] >= ALIKE and row["gate_flips"] == row["pick_flips"] == 0:
        return "same"
    return "differ" if row["dtype"] == "fp32" else None
