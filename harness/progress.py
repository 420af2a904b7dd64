"""Where a sweep is, what is left, and the table that ends it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from harness.options.words import unlike

TABLE = {
    "strategy": "",
    "variant": "",
    "batch": "d",
    "objects": "d",
    "status": "",
    "fps": ".1f",
    "speedup": ".2f",
    "speedup_lo": ".2f",
    "speedup_hi": ".2f",
    "verdict": "",
    "bank_s": ".3f",
    "iou_min": ".4f",
    "jf": ".3f",
    "peak_rss_mb": ".0f",
    "vram_peak_mb": ".0f",
}
"""Columns of the closing table and their formats."""
WHERE_DIFFERENT = {"model": "", "data": "", "dtype": "", "reference": "", "refs": "d", "targets": "d", "options": ""}
"""More columns, for runs whose points differ in them."""


class Progress:
    """A line per finished point, and on a terminal a bar below them."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._total = total
        self._done = 0
        self._began = 0.0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("sweep", total=total)

    def keep(self, points: int) -> None:
        """So many points have their results from before."""
        if points:
            self._done = points
            self._bar.advance(self._task, points)
            self._console.print(f"{points} of {self._total} points have their results already", markup=False)

    def begin(self, name: str) -> None:
        self._began = time.monotonic()
        self._bar.update(self._task, description=name)

    def stage(self, name: str) -> None:
        self._bar.update(self._task, description=name)

    def end(self, row: dict[str, Any]) -> None:
        self._done += 1
        self._bar.advance(self._task)
        seconds = time.monotonic() - self._began
        self._console.print(
            f"[{self._done}/{self._total}] {row['point']}: {row['status']}, {_told(row)} ({seconds:.1f} s)",
            markup=False,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _told(row: dict[str, Any]) -> str:
    if row.get("fps") is None or row["status"] != "ok":
        return str(row.get("reason"))
    told = f"{row['fps']:.1f} frames/s"
    if row.get("speedup") is None:
        return told
    return f"{told}, {row['speedup']:.2f}x {row['reference']} ({row['verdict']})"


def print_table(rows: list[dict[str, Any]]) -> None:
    """The sweep's results on standard output; columns that nothing was measured for are left out."""
    told = unlike([row.get("options") or "" for row in rows])
    rows = [row | {"options": words} for row, words in zip(rows, told, strict=True)]
    different = {
        name: how for name, how in WHERE_DIFFERENT.items() if len({row.get(name) for row in rows} - {None}) > 1
    }
    formats = {**different, **TABLE}
    columns = [name for name in formats if any(row.get(name) not in (None, "") for row in rows)]
    table = Table()
    for name in columns:
        table.add_column(name, justify="right" if formats[name] else "left")
    for row in rows:
        values = ((row.get(name), formats[name]) for name in columns)
        table.add_row(*("" if value is None else escape(format(value, how)) for value, how in values))
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width to fit in
        console.width = 200
    console.print(table)
