"""Speed-ups from run to run, from the history beside the run's folder: lines, and a table of their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.stats.interval import Interval
from harness.store import history
from harness.store.history import Entry
from harness.store.point_key import measured
from report.reading.run import Run
from report.render.document import Cell, Paragraph, Section, Table, number, words
from report.sections.points_table import PointColumn, points_table, with_ends
from report.sections.trend_lines import Trend, commit_of, draw_trends
from strategies.errors import UserError

TITLE = "From run to run"
MARGIN = 0.1
"""A speed-up that changes by more than this share makes a step."""


def trends_section(run: Run) -> Section | None:
    """Return None where the history has no other speed-ups of this run's points."""
    try:
        found = _trends(run, run.folder.resolve().parent / history.NAME)
    except (UserError, ValueError, TypeError) as error:  # A history that was edited by hand may hold no numbers.
        return Section.of(TITLE, Paragraph(text=f"There are no trends to show: {error}.", quiet=True))
    if not found:
        return None
    about = (
        "`change` is the speed-up at the latest step divided by that of a run since the step before it, the one that "
        "it is furthest from, with its 95% interval. `python -m report compare` shows what else changed with a run."
    )
    note = Paragraph(text=about, quiet=True) if any(trend.steps for trend in found) else None
    return Section.of(TITLE, Paragraph(text=_short(run, found)), draw_trends(run, found), _table(run, found), note)


def _trends(run: Run, store: Path) -> list[Trend]:
    """Return the trends of this run's points: those with steps first, then those of most runs."""
    known = history.trends(store, device=run.device, threads=run.environment.get("threads"))
    keys = {one.row.point: key for key, one in measured(run.folder).items()} if known else {}
    found: list[Trend] = []
    for row in run.rows.values():
        runs = known.get(keys.get(row["point"], ""), [])
        entries = [entry for entry in runs if entry.interval is not None or entry.status != "ok"]
        current = next((place for place, entry in enumerate(entries) if entry.run == run.name), None)
        intervals = {place: entry.interval for place, entry in enumerate(entries) if entry.interval is not None}
        if current is not None and len(intervals) > 1:
            steps = history.steps(entries, margin=MARGIN)
            found.append(Trend(row=row, entries=entries, current=current, intervals=intervals, steps=steps))
    return sorted(found, key=lambda trend: (not trend.steps, -len(trend.intervals)))


def _short(run: Run, found: Sequence[Trend]) -> str:
    runs = len({trend.entries[place].run for trend in found for place in trend.intervals})
    stepped = sum(bool(trend.steps) for trend in found)
    which = f"{stepped} of {len(found)} speed-ups" if stepped else "No speed-up"
    return f"{which} stepped by more than {MARGIN:.0%} over {runs} runs on {run.device}."


def _table(run: Run, found: Sequence[Trend]) -> Table | None:
    of_point = {trend.row.point: trend for trend in found}

    def trend_column(title: str, cell: Callable[[Trend], Cell], *, text: bool = False) -> PointColumn:
        return PointColumn(title=title, cell=lambda row: cell(of_point[row["point"]]), words=text)

    def step_column(title: str, text: Callable[[Entry], str | None]) -> PointColumn:
        def cell(trend: Trend) -> Cell:
            return words(text(trend.entries[max(trend.steps)])) if trend.steps else Cell()

        return trend_column(title, cell, text=True)

    return points_table(
        replace(run, summary=run.summary.loc[[trend.row.name for trend in found]]),
        [
            trend_column("runs", lambda trend: number(len(trend.intervals), "{:.0f}")),
            trend_column("first", lambda trend: _cell(trend.intervals[min(trend.intervals)])),
            trend_column(
                "this run", lambda trend: _cell(trend.intervals.get(trend.current), trend.entries[trend.current].status)
            ),
            step_column("latest step in", lambda entry: entry.run),
            step_column("on", lambda entry: entry.time[:10]),
            step_column("commit", commit_of),
            trend_column("change", lambda trend: _cell(trend.steps[max(trend.steps)] if trend.steps else None)),
        ],
        by_speed=False,
    )


def _cell(interval: Interval | None, instead: str = "") -> Cell:
    return Cell(text=instead) if interval is None else Cell(text=with_ends(interval), key=interval.value)
