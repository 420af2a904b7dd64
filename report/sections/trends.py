"""Speed-ups from run to run: the history beside the run's folder as lines, with their steps marked."""

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
from report.sections.points_table import Shown, points_table, with_ends
from report.sections.trend_lines import Trend, commit_of, draw_trends
from strategies.errors import UserError

TITLE = "From run to run"
MARGIN = 0.1
"""A change by more is a step."""


def trends_section(run: Run) -> Section | None:
    """None where the history has no other speed-ups of this run's points."""
    try:
        found = _trends(run, run.folder.resolve().parent / history.NAME)
    except (UserError, ValueError, TypeError) as error:  # the last two: no numbers, in a store that was edited by hand
        return Section.of(TITLE, Paragraph(text=f"There are no trends to show: {error}.", quiet=True))
    if not found:
        return None
    about = (
        "`change` is the speed-up at the latest step divided by that of a run since the step before it, the one that "
        "it is furthest from, with its 95% interval. What else changed with a run, `python -m report compare` tells."
    )
    note = Paragraph(text=about, quiet=True) if any(trend.steps for trend in found) else None
    return Section.of(TITLE, Paragraph(text=_short(run, found)), draw_trends(run, found), _table(run, found), note)


def _trends(run: Run, store: Path) -> list[Trend]:
    """Those with steps first, then those of most runs."""
    known = history.trends(store, device=run.device, threads=run.environment.get("threads"))
    keys = {one.row.point: key for key, one in measured(run.folder).items()} if known else {}
    found: list[Trend] = []
    for _, row in run.summary.iterrows():
        runs = known.get(keys.get(row["point"], ""), [])
        entries = [entry for entry in runs if entry.interval is not None or entry.status != "ok"]
        mine = next((place for place, entry in enumerate(entries) if entry.run == run.name), None)
        intervals = {place: entry.interval for place, entry in enumerate(entries) if entry.interval is not None}
        if mine is not None and len(intervals) > 1:
            steps = history.steps(entries, margin=MARGIN)
            found.append(Trend(row=row, entries=entries, mine=mine, intervals=intervals, steps=steps))
    return sorted(found, key=lambda trend: (not trend.steps, -len(trend.intervals)))


def _short(run: Run, found: Sequence[Trend]) -> str:
    runs = len({trend.entries[place].run for trend in found for place in trend.intervals})
    stepped = sum(bool(trend.steps) for trend in found)
    which = f"{stepped} of {len(found)} speed-ups" if stepped else "No speed-up"
    return f"{which} stepped by more than {MARGIN:.0%} over {runs} runs on {run.device}."


def _table(run: Run, found: Sequence[Trend]) -> Table | None:
    of_point = {trend.row.point: trend for trend in found}

    def shown(title: str, cell: Callable[[Trend], Cell], *, text: bool = False) -> Shown:
        return Shown(title=title, cell=lambda row: cell(of_point[row["point"]]), words=text)

    def of_step(title: str, told: Callable[[Entry], str | None]) -> Shown:
        def cell(trend: Trend) -> Cell:
            return words(told(trend.entries[max(trend.steps)])) if trend.steps else Cell()

        return shown(title, cell, text=True)

    return points_table(
        replace(run, summary=run.summary.loc[[trend.row.name for trend in found]]),
        [
            shown("runs", lambda trend: number(len(trend.intervals), "{:.0f}")),
            shown("first", lambda trend: _cell(trend.intervals[min(trend.intervals)])),
            shown("this run", lambda trend: _cell(trend.intervals.get(trend.mine), trend.entries[trend.mine].status)),
            of_step("latest step in", lambda entry: entry.run),
            of_step("on", lambda entry: entry.time[:10]),
            of_step("commit", commit_of),
            shown("change", lambda trend: _cell(trend.steps[max(trend.steps)] if trend.steps else None)),
        ],
    )


def _cell(interval: Interval | None, instead: str = "") -> Cell:
    return Cell(text=instead) if interval is None else Cell(text=with_ends(interval), key=interval.value)
