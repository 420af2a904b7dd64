"""A run's folder, read back: nothing in a report comes from anywhere else."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.options.words import unlike
from harness.row import CATALOGUE, SETTING
from harness.schema import read_object
from harness.store.table import stored_points, summary_of

if TYPE_CHECKING:
    from strategies.base import Strategy
    from strategies.streams.base import StreamStrategy

OURS = "strategies."
MEASURED = ("ok", "wrong")
"""Statuses of points that counted what they worked on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's folder holds.

    summary: a row for each point, with all `COLUMNS` of summary.csv, and the names that `_labelled` gives it.

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

    @cached_property
    def rows(self) -> dict[Any, pd.Series]:
        """The summary's rows by its index. Every section goes through them, and pandas takes long to make them."""
        return dict(self.summary.iterrows())

    def of(self, row: pd.Series, *keys: str) -> Any:
        """Return the value at a place in the file of a row's point, or None where there is none."""
        return dig(self.points.get(row["point"]), *keys)

    def strategy_class(self, row: pd.Series) -> type[Strategy | StreamStrategy] | None:
        """Return the strategy's class of a row's point, or None for one of another package, which is not imported."""
        target = self.of(row, "config", "strategy", "_target_")
        if not isinstance(target, str) or not target.startswith(OURS):
            return None
        module, _, name = target.rpartition(".")
        try:
            from strategies.base import Strategy  # These import torch, which a report does not need.
            from strategies.streams.base import StreamStrategy

            found = getattr(importlib.import_module(module), name, None)
        except Exception:  # A strategy that is gone, or being worked on, may raise anything.
            return None
        return found if isinstance(found, type) and issubclass(found, Strategy | StreamStrategy) else None

    def stored(self, *keys: str) -> list[Any]:
        """Return the value at a place in the points' files, for each point that has one there."""
        values = (dig(content, *keys) for content in self.points.values())
        return [value for value in values if value is not None]


def read_run(folder: Path) -> Run:
    """Read a run's folder, as far as possible if the run was interrupted.

    Raises UserError where the folder holds no run.
    """
    points = stored_points(folder)
    summary = summary_of(folder, points)
    environment = read_object(folder / "environment.json") or {}
    counted = _counted(summary, points)
    labelled = _labelled(counted, points).copy()  # A copy in one piece makes every selection faster.
    return Run(folder=folder, environment=environment, summary=labelled, points=points)


def finite(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    try:
        return float(value) if isinstance(value, Real) and math.isfinite(value) else None
    except OverflowError:  # JSON's whole numbers have no end.
        return None


def dig(content: Any, *keys: str) -> Any:
    """Return the value at a path of keys in nested JSON objects, or None where the path does not exist."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _counted(summary: pd.DataFrame, points: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Fill in how many objects failed points have from finished points of the same data, which store the number."""

    def asked(row: pd.Series) -> str | None:
        options = dig(points.get(row["point"]), "config")
        if not isinstance(options, dict) or "objects" not in options:
            return None
        return json.dumps([options.get("data"), options["objects"]])

    questions = pd.Series([asked(row) for _, row in summary.iterrows()], index=summary.index, dtype=object)
    finished = summary["objects"].where(summary["status"].isin(MEASURED))
    learned = {question: counts.iloc[0] for question, counts in finished.groupby(questions) if counts.nunique() == 1}
    return summary.assign(objects=summary["objects"].fillna(questions.map(learned).astype(float)))


def _labelled(summary: pd.DataFrame, points: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Add the columns ``family``, ``label``, ``any_refs`` and ``in_setting``.

    ``family`` is the strategy with its variant, ``label`` also names what else differs between points, and ``any_refs``
    is the label without the number of references. ``in_setting`` leaves out all that says what strategies are compared
    on, so that it tells points of one setting apart.
    """
    differing = unlike(["" if pd.isna(text) else str(text) for text in summary["options"]])
    varying = [column for column in SETTING if _asked(summary, column, points).nunique() > 1]

    def family(row: pd.Series) -> str:
        return str(row["strategy"]) if pd.isna(row["variant"]) else f"{row['strategy']} ({row['variant']})"

    def label(row: pd.Series, columns: Sequence[str]) -> str:
        known = [column for column in columns if pd.notna(row[column])]
        parts = [f"{column} {row[column]:g}" if CATALOGUE[column].format else row[column] for column in known]
        return ", ".join(filter(None, [family(row), *parts, row["unlike"]]))

    rows = [row for _, row in summary.assign(unlike=differing).iterrows()]
    others = [column for column in varying if column != "refs"]
    return summary.assign(
        family=[family(row) for row in rows],
        label=[label(row, varying) for row in rows],
        any_refs=[label(row, others) for row in rows],
        in_setting=[label(row, ()) for row in rows],
    )


def _asked(summary: pd.DataFrame, column: str, points: dict[str, dict[str, Any]]) -> pd.Series:
    """Return a column; for counts the values that were asked for, which a point that failed stores too.

    What a point that failed counted is not known where its file is gone.
    """
    if not CATALOGUE[column].format:
        return summary[column]
    asked = [dig(points.get(row["point"]), "config", column) for _, row in summary.iterrows()]
    counted = summary[column].where(summary["status"].isin(MEASURED))
    known = [value if isinstance(value, int) else row for value, row in zip(asked, counted, strict=True)]
    return pd.Series(known)
