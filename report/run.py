"""A run's folder, read back: nothing in a report comes from anywhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from strategies.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Run:
    """summary: a row a point, as in summary.csv; points: the whole results, by name."""

    folder: Path
    environment: dict[str, Any]
    summary: pd.DataFrame
    points: dict[str, dict[str, Any]]


def read_run(folder: Path) -> Run:
    """Raises UserError where the folder holds no run."""
    if not (folder / "summary.csv").is_file():
        raise UserError(f"{folder} holds no finished point: give the folder of a run, as results/latest")
    points = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "points").glob("*.json"))]
    return Run(
        folder=folder,
        environment=json.loads((folder / "environment.json").read_text(encoding="utf-8")),
        summary=pd.read_csv(folder / "summary.csv", dtype={"reason": str, "bank": str}, keep_default_na=True),
        points={point["row"]["point"]: point for point in points},
    )


def label(row: pd.Series) -> str:
    """A strategy with its bank, as one name."""
    return str(row["strategy"]) if pd.isna(row["bank"]) else f"{row['strategy']} ({row['bank']})"
