"""Whether a point's masks count as those of `sequential`: by the harness's rule for exact strategies, for all."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from harness.masks.agreement import ALIKE, Agreement
from harness.masks.noise import Limits
from harness.measure.correctness import disagreement
from report.reading.run import Run

Masks = Literal["same", "differ"]


def masks_of(run: Run, row: pd.Series) -> Masks | None:
    """None where they were not compared, or nobody knows."""
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
