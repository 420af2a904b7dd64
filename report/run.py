"""A run's folder, read back: nothing in a report comes from anywhere else."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from harness.results import COLUMNS
from strategies.errors import UserError

COUNTS = ("refs", "targets")
MAY_VARY = ("model", "data", "device", "dtype", *COUNTS)
"""Columns that tell a run's points apart besides strategy, variant, batch, objects and repeat."""
TEXTS = (
    *("point", "strategy", "variant", "model", "data", "device", "dtype", "sdpa", "status", "reason"),
    *("reference", "verdict", "converged", "throttle", "command"),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """summary: a row a point, with all `COLUMNS` of summary.csv, and its ``label``.

    points: what points/*.json hold, by the point's name; those that can't be read are missing. environment: empty where
    it can't be read.
    """

    folder: Path
    environment: dict[str, Any]
    summary: pd.DataFrame
    points: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def device(self) -> str:
        return str(self.environment.get("device") or "an unknown device")

    def of(self, row: pd.Series, *keys: str) -> Any:
        """The value at a place in a row's point's file; None where there is none."""
        return dig(self.points.get(row["point"]), *keys)

    def stored(self, *keys: str) -> list[Any]:
        """The value at a place in the points' files, of those that have one there."""
        values = (dig(content, *keys) for content in self.points.values())
        return [value for value in values if value is not None]


def read_run(folder: Path) -> Run:
    """Of a run that was cut off anywhere, all that can be read. Raises UserError where the folder holds no run.

    Where the summary lacks a point, or how it ended, its own file tells, which was written before.
    """
    contents = {path.stem: read_object(path) for path in sorted((folder / "points").glob("*.json"))}
    points = {
        name: content
        for name, content in contents.items()
        if content is not None and isinstance(dig(content, "row"), dict)
    }
    rows = _summary_rows(folder / "summary.csv")
    for name, content in points.items():
        if rows.get(name, {}).get("status") != content["row"].get("status"):
            rows[name] = _texts(content["row"])
    if not rows:
        raise UserError(f"{folder} holds no finished point: give the folder of a run, as results/latest")
    summary = pd.DataFrame(list(rows.values()), columns=list(COLUMNS), dtype=str).replace("", None)
    environment = read_object(folder / "environment.json") or {}
    return Run(folder=folder, environment=environment, summary=_labelled(_typed(summary), points), points=points)


def _summary_rows(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return {row["point"]: row for row in csv.DictReader(file) if row.get("point") and row.get("status")}


def _texts(row: dict[str, Any]) -> dict[str, str]:
    """A row as summary.csv would hold it."""
    return {name: "" if value is None else str(value) for name, value in row.items()}


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON file's object; None where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def finite(value: Any) -> float | None:
    """A number as such; None for anything else."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def dig(content: Any, *keys: str) -> Any:
    """The value under a key, and under a key of that, and so on; None where there is no such place."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _typed(summary: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: pd.to_numeric(summary[name], errors="coerce") for name in COLUMNS if name not in TEXTS}
    return summary.assign(**numbers)


def _labelled(summary: pd.DataFrame, points: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """With columns ``family``, the strategy with its variant; and ``label``, that and whatever else differs."""
    varying = [column for column in MAY_VARY if _asked(summary, column, points).nunique() > 1]

    def family(row: pd.Series) -> str:
        return str(row["strategy"]) if pd.isna(row["variant"]) else f"{row['strategy']} ({row['variant']})"

    def label(row: pd.Series) -> str:
        known = [column for column in varying if pd.notna(row[column])]
        return ", ".join(
            [family(row), *(f"{column} {row[column]:g}" if column in COUNTS else row[column] for column in known)]
        )

    rows = [row for _, row in summary.iterrows()]
    return summary.assign(family=list(map(family, rows)), label=list(map(label, rows)))


def _asked(summary: pd.DataFrame, column: str, points: dict[str, dict[str, Any]]) -> pd.Series:
    """Of a count, what was asked for where that is known: a point that failed never learned what came of it."""
    if column not in COUNTS:
        return summary[column]
    asked = [dig(points.get(row["point"]), "config", column) for _, row in summary.iterrows()]
    known = [value if isinstance(value, int) else row for value, row in zip(asked, summary[column], strict=True)]
    return pd.Series(known)
