"""The progress of a sweep, and the table that ends it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.bar import bar_on
from harness.guard import shortened
from harness.isolate.tracebacks import last_frames
from harness.options.words import unlike
from harness.row import CATALOGUE, STAR, Row, doubtful_column


class Progress:
    """A line per finished point, and on a terminal a bar below them."""

    def __init__(self, total: int, console: Console | None = None, *, warned: set[str] | None = None) -> None:
        """warned: the warnings that the command has given already, to which further ones are added."""
        self._warned = set() if warned is None else warned
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._total = total
        self._done = 0
        self._began = 0.0
        self._bar = bar_on(self._console)
        self._task = self._bar.add_task("sweep", total=total)

    def keep(self, points: int) -> None:
        """Count points that have their results from before the run was resumed."""
        if points:
            self._done = points
            self._bar.advance(self._task, points)
            self._console.print(f"{points} of {self._total} points have their results already", markup=False)

    def begin(self, name: str) -> None:
        self._began = time.monotonic()
        self._bar.update(self._task, description=name)

    def stage(self, name: str) -> None:
        self._bar.update(self._task, description=name)

    def warn(self, warnings: Iterable[str]) -> None:
        """Print warnings, each once in a command."""
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._console.print(f"warning: {warning}", markup=False)

    def part(self, row: Row, *, number: int, of: int) -> None:
        """Print a line of a point of which not all processes have ended; ``row`` has what they found so far."""
        seconds = time.monotonic() - self._began
        self._console.print(
            f"{row.point}: process {number + 1} of {of}, {_outcome(row)} so far ({seconds:.1f} s)", markup=False
        )

    def end(self, row: Row, *, traceback: str = "") -> None:
        """Print a point's line, and below it the last frames of its traceback where it failed."""
        self._done += 1
        self._bar.advance(self._task)
        seconds = time.monotonic() - self._began
        self._console.print(
            f"[{self._done}/{self._total}] {row.point}: {row.status}, {_outcome(row)} ({seconds:.1f} s)",
            markup=False,
        )
        for line in last_frames(traceback, root=Path.cwd()):
            self._console.print(line, markup=False, emoji=False)

    def extra(self, name: str, reason: str | None) -> None:
        """Print a line of what was measured besides the points. reason: why it was not, or None."""
        seconds = time.monotonic() - self._began
        outcome = "measured" if reason is None else shortened(reason)
        self._console.print(f"{name}: {outcome} ({seconds:.1f} s)", markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _outcome(row: Row) -> str:
    if row.fps is None or row.status != "ok":
        return shortened(str(row.reason))
    speed = f"{_shown(row, 'fps')} frames/s"
    if row.speedup is None:
        return speed
    return f"{speed}, {_shown(row, 'speedup', unit='x')} {row.reference} ({row.verdict})"


def _shown(row: Row, name: str, unit: str = "") -> str:
    """Return a column's value in the column's format and its unit, with a star where it was not measured long enough.

    The text is empty where it was not measured.
    """
    value = getattr(row, name)
    if value is None:
        return ""
    return format(value, CATALOGUE[name].format) + unit + (STAR if name == _doubtful(row) else "")


def _doubtful(row: Row) -> str | None:
    return doubtful_column(converged=row.converged, has_speedup=row.speedup is not None)


def _legend(rows: Sequence[Row]) -> str | None:
    """Return the line that explains the stars of a table, or None where it has none."""
    early = sum(_doubtful(row) is not None for row in rows)
    if not early:
        return None
    timed = sum(row.converged is not None for row in rows)
    return (
        f"{STAR} not measured long enough ({early} of {timed} points): a first impression, which more time "
        "(timing.max_seconds) makes a result"
    )


def print_table(rows: Sequence[Row]) -> None:
    """Print the sweep's results, without the columns for which nothing was measured."""
    words = unlike([row.options or "" for row in rows])
    rows = [replace(row, options=one) for row, one in zip(rows, words, strict=True)]
    found = {name: {getattr(row, name) for row in rows} - {None, ""} for name in CATALOGUE}
    varying = [name for name, one in CATALOGUE.items() if one.shown == "where it varies" and len(found[name]) > 1]
    columns = varying + [name for name, one in CATALOGUE.items() if one.shown == "always" and found[name]]
    table = Table()
    for name in columns:
        table.add_column(name, justify="right" if CATALOGUE[name].format else "left")
    for row in rows:
        table.add_row(*(escape(_shown(row, name)) for name in columns))
    console = Console()
    if not console.is_terminal:  # A file or a pipe has no width to fit in.
        console.width = 200
    console.print(table)
    if (legend := _legend(rows)) is not None:
        console.print(legend, markup=False, soft_wrap=True, highlight=False)
