"""A run's folder, read back: nothing in a report comes from anywhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from strategies.errors import UserError

COUNTS = ("refs", "targets")
MAY_VARY = ("model", "data", "device", "dtype", *COUNTS)
"""Columns that tell a run's points apart besides strategy, bank, batch and objects."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """summary: a row a point, as in summary.csv, and its ``label``."""

    folder: Path
    environment: dict[str, Any]
    summary: pd.DataFrame


def read_run(folder: Path) -> Run:
    """Raises UserError where the folder holds no run."""
    if not (folder / "summary.csv").is_file():
        raise UserError(f"{folder} holds no finished point: give the folder of a run, as results/latest")
    summary = pd.read_csv(
        folder / "summary.csv", dtype={"reason": str, "bank": str}, keep_default_na=False, na_values=[""]
    )
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    return Run(folder=folder, environment=environment, summary=_labelled(summary))


def _labelled(summary: pd.DataFrame) -> pd.DataFrame:
    """With a column ``label``: the strategy with its bank, and whatever else differs between the run's points."""
    varying = [column for column in MAY_VARY if summary[column].nunique() > 1]

    def label(row: pd.Series) -> str:
        name = str(row["strategy"]) if pd.isna(row["bank"]) else f"{row['strategy']} ({row['bank']})"
        told = [f"{column} {row[column]:g}" if column in COUNTS else str(row[column]) for column in varying]
        return ", ".join([name, *told])

    return summary.assign(label=[label(row) for _, row in summary.iterrows()])
