"""Runs' results as tables of pandas, a typed row for each point: what reports are made of, and what `load` returns."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.column import LARGEST, Column
from harness.row import CATALOGUE, COLUMNS
from harness.schema import read_object
from harness.store.recorded import planned_names
from harness.store.results import began
from harness.store.summary import rows_in
from strategies.errors import UserError

OPTIONS = "config"
"""Where a point's file has its resolved options, and what the names of their columns begin with."""
KINDS = {int: "Int64", bool: "boolean"}
"""pandas's types for columns of whole numbers and of yes or no in which some may be missing."""
YES_OR_NO = {"True": True, "False": False}


def load(*runs: str | Path) -> pd.DataFrame:
    """Read finished runs into one table, with a row for each point of each run.

    runs: folders of runs, as "results/latest", or patterns of such, as "results/*", of which folders without a finished
    point are passed over; a run that is named twice is read once.

    The columns: ``run``, the name of the run's folder; ``time``, when the run began, by that name; all columns of
    summary.csv; and all options that the point was measured with, under their names with ``config.`` before them, as
    ``config.timing.width``, which a run without its points' files lacks. What was not measured is missing.

    Raises UserError where a folder holds no finished point, or a pattern matches none that does.
    """
    tables: dict[Path, pd.DataFrame] = {}
    for given in runs:
        found = list(_tables(str(given)))
        if not found:
            raise UserError(f"{given} matches no folder of a finished run: give results/latest, or results/* for all")
        for folder, table in found:
            tables.setdefault(folder, table)
    if not tables:
        raise UserError("no run is named: give the folder of one, as results/latest")
    return pd.concat(tables.values(), ignore_index=True)


def stored_points(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the files of a run's points hold, by the points' names, without those that can't be read."""
    contents = {path.stem: read_object(path) for path in sorted((folder / "points").glob("*.json"))}
    return {
        name: content
        for name, content in contents.items()
        if content is not None and isinstance(content.get("row"), dict)
    }


def summary_of(folder: Path, points: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each point of a run, typed, in the order of its plan.

    points: what `stored_points` gives. A point, or its status, that summary.csv lacks is taken from the point's own
    file, which is written before it. Raises UserError where there is no point.
    """
    rows = rows_in(folder / "summary.csv")
    for name, content in points.items():
        if rows.get(name, {}).get("status") != content["row"].get("status"):
            rows[name] = _texts(content["row"] | {"point": name})
    if not rows:
        raise UserError(f"{folder} holds no finished point: give the folder of a run, as results/latest")
    places = places_in_plan(folder)
    ordered = sorted(rows.values(), key=lambda row: places.get(row["point"], len(places)))
    return _typed(ordered)


def places_in_plan(folder: Path) -> dict[str, int]:
    """Return each point's place in the sweep; a run that was resumed does not measure its points in that order."""
    return {name: at for at, name in enumerate(planned_names(folder))}


def _tables(pattern: str) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Yield the run that a path names, or those that a pattern matches, each by its real folder, with its table."""
    if not glob.has_magic(pattern):
        yield Path(pattern).resolve(), _tidy(Path(pattern))
        return
    for path in sorted(map(Path, glob.glob(pattern))):  # noqa: PTH207 - the pattern may begin anywhere
        try:
            yield path.resolve(), _tidy(path)
        except UserError:  # A folder of snapshots, for one, lies beside the runs.
            continue


def _tidy(folder: Path) -> pd.DataFrame:
    points = stored_points(folder)
    summary = summary_of(folder, points)
    kinds = {name: KINDS[one.kind] for name, one in CATALOGUE.items() if one.kind in KINDS}
    options = [dict(_flat(OPTIONS, points.get(name, {}).get(OPTIONS))) for name in summary["point"]]
    name, time = folder.resolve().name, began(folder.resolve())
    before = pd.DataFrame({"run": name, "time": pd.Timestamp(time) if time else pd.NaT}, index=summary.index)
    return pd.concat([before, summary.astype(kinds), pd.DataFrame(options, index=summary.index)], axis="columns")


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield options by their full names; a list becomes a tuple, by which a table can be grouped."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif name != OPTIONS:
        yield name, tuple(value) if isinstance(value, list) else value


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's values as summary.csv would hold them."""
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _typed(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Make a table of texts, with values as `harness.row.Row` has them, and None or NaN where there is none.

    All numbers are converted at once, because pandas takes as long for one column as for the whole table.
    """
    texts = {name: [row.get(name) or None for row in rows] for name in COLUMNS}
    for name, column in CATALOGUE.items():
        if column.identifies and column.default is not None:  # Older runs lack it, because it had no other value.
            texts[name] = [str(column.default) if text is None else text for text in texts[name]]
    numeric = [name for name, column in CATALOGUE.items() if column.kind in (int, float)]
    flat = pd.Series([text for name in numeric for text in texts[name]], dtype=object)
    numbers = pd.to_numeric(flat, errors="coerce").to_numpy(dtype=float).reshape(len(numeric), len(rows))
    of_name = dict(zip(numeric, numbers, strict=True))

    def typed(column: Column) -> pd.Series:
        if column.kind is bool:
            return pd.Series([YES_OR_NO.get(text or "") for text in texts[column.name]], dtype=object)
        if column.kind is str:
            return pd.Series(texts[column.name], dtype=str)
        found = pd.Series(of_name[column.name])
        return found.where(found.between(0, LARGEST)) if column.kind is int else found

    return pd.DataFrame({name: typed(column) for name, column in CATALOGUE.items()})
