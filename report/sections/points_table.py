"""Tables with a row for each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from harness.row import CATALOGUE, STAR, doubtful_column
from harness.stats.interval import Interval
from report.reading.run import Run
from report.render.document import Cell, Table, filled, number, words
from report.sections.labels import labelled

KEYS = ("batch", "objects", "repeat")
"""The columns of every table that, together with the label, identify a row's point."""


@dataclass(frozen=True, kw_only=True)
class PointColumn:
    """A column of a table of points. cell: makes the cell of a point from its row of the summary."""

    title: str
    cell: Callable[[pd.Series], Cell]
    words: bool = False


def column(name: str) -> PointColumn:
    """Return a column of summary.csv under its own name and in its own format."""
    return PointColumn(title=name, cell=lambda row: column_cell(row, name))


def text_column(name: str) -> PointColumn:
    return PointColumn(title=name, cell=lambda row: words(row.get(name)), words=True)


def column_cell(row: pd.Series, name: str, mark: str = "") -> Cell:
    """Return the number of a column of summary.csv in the column's format, digits grouped; ``mark`` is behind it."""
    return number(row.get(name), f"{{:,{CATALOGUE[name].format}}}", mark)


def points_table(
    run: Run, columns: list[PointColumn], title: str = "", *, every: bool = False, by_speed: bool = True
) -> Table | None:
    """Make a table of the points that have a value in any column, or of every point; empty columns are left out.

    by_speed: whether the fastest point comes first; else rows have the order of the summary. What narrow screens have
    to show stands in front: the strategy, then the speed-up.
    """
    summary = fastest_first(run.summary) if by_speed else run.summary
    repeated = summary["repeat"].nunique() > 1
    keys = [name for name in KEYS if summary[name].notna().any() and (name != "repeat" or repeated)]
    made = [(row, [one.cell(row) for one in columns]) for row in map(run.rows.__getitem__, summary.index)]
    kept = [(row, cells) for row, cells in made if every or any(cell.text for cell in cells)]
    rows = [row for row, _ in kept]
    table = filled(
        [
            (labelled("strategy", words=True), [words(row["label"]) for row in rows]),
            *((labelled(name), [column_cell(row, name) for row in rows]) for name in keys),
            *(
                (labelled(one.title, words=one.words), [cells[at] for _, cells in kept])
                for at, one in enumerate(columns)
            ),
        ],
        title,
        keep=1 + len(keys),
    )
    return None if table is None else _in_front(table, "speedup")


def _in_front(table: Table, title: str) -> Table:
    """Move a column, where the table has it, behind the first."""
    titles = [column.title for column in table.columns]
    if title not in titles:
        return table
    at = titles.index(title)
    order = [0, at, *(other for other in range(1, len(titles)) if other != at)]
    return replace(
        table,
        columns=tuple(table.columns[one] for one in order),
        rows=tuple(tuple(row[one] for one in order) for row in table.rows),
    )


def fastest_first(summary: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by speed-up, then those without one by targets per second; what has neither keeps its order."""
    return summary.sort_values(["speedup", "fps"], ascending=False, kind="stable", na_position="last")


def whole_job(row: pd.Series) -> bool:
    """Return whether a point timed the whole job, so that its speed is not that of the prediction stage."""
    return bool(row["scenario"] == "job")


def streamed(row: pd.Series) -> bool:
    """Return whether a point followed streams, so that its batch are videos, and its targets frames in order."""
    return bool(row["scenario"] == "stream")


def oracles(run: Run) -> str:
    """Name the strategies whose masks are expected, by the scenarios of the run."""
    names = {"`stream_session`" if streamed(row) else "`sequential`" for row in run.rows.values()}
    return " or ".join(sorted(names))


def memory_column(summary: pd.DataFrame) -> str:
    """Return the column that counts as the points' memory: the GPU's where any point has it, else the process's."""
    return "vram_peak_mb" if summary["vram_peak_mb"].notna().any() else "peak_rss_mb"


def speedup_cell(row: pd.Series) -> Cell:
    return number(row["speedup"], lambda _: with_interval(row), starred(row, "speedup"))


def with_interval(row: pd.Series) -> str:
    ends = [row["speedup_lo"], row["speedup_hi"]]
    if any(pd.isna(end) for end in ends):
        return ratio(row["speedup"])
    return f"{ratio(row['speedup'])} ({'-'.join(map(ratio, ends))})"


def with_ends(interval: Interval) -> str:
    return f"{ratio(interval.value)} ({ratio(interval.lo)}-{ratio(interval.hi)})"


def ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def starred(row: pd.Series, name: str) -> str:
    """Return the star for the number that timing which ended too early leaves uncertain, else nothing.

    name: the number's column.
    """
    doubtful = doubtful_column(converged=row["converged"], has_speedup=pd.notna(row["speedup"]))
    return STAR if name == doubtful else ""
