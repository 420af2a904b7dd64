"""Tables with a row for each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from harness.row import CATALOGUE
from harness.stats.interval import Interval
from report.reading.run import Run
from report.render.document import Cell, Column, Table, filled, number, words

KEYS = ("batch", "objects", "repeat")
"""Columns of every table, which with the label say which point a row is of."""
STAR = "*"

Show = Callable[[pd.Series], Cell]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A column: its title, and each row's cell."""

    title: str
    cell: Show
    words: bool = False


def column(name: str) -> Shown:
    """Of summary.csv, under its own name and in its own format."""
    return Shown(title=name, cell=lambda row: column_cell(row, name))


def text_column(name: str) -> Shown:
    return Shown(title=name, cell=lambda row: words(row.get(name)), words=True)


def column_cell(row: pd.Series, name: str, mark: str = "") -> Cell:
    """The number of a column of summary.csv in the column's format; ``mark`` stands behind it."""
    return number(row.get(name), f"{{:{CATALOGUE[name].format}}}", mark)


def points_table(run: Run, shown: list[Shown], title: str = "", *, every: bool = False) -> Table | None:
    """Of the points that have something to show, or of every one; columns without any value are left out."""
    summary = run.summary
    repeated = summary["repeat"].nunique() > 1
    keys = [name for name in KEYS if summary[name].notna().any() and (name != "repeat" or repeated)]
    rows = [row for _, row in summary.iterrows() if every or any(one.cell(row).text for one in shown)]
    return filled(
        [
            (Column(title="strategy", words=True), [words(row["label"]) for row in rows]),
            *((Column(title=name), [column_cell(row, name) for row in rows]) for name in keys),
            *((Column(title=one.title, words=one.words), [one.cell(row) for row in rows]) for one in shown),
        ],
        title,
        keep=1 + len(keys),
    )


def memory_column(summary: pd.DataFrame) -> str:
    """What a point's memory is: the GPU's where there is one."""
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
    """A star behind the number that is to be taken with care because timing ended too early."""
    doubtful = "fps" if pd.isna(row["speedup"]) else "speedup"
    return STAR if row["converged"] is False and name == doubtful else ""
