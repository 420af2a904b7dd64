"""Trends as lines: a small panel for each point, runs from left to right, with steps marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.stats.interval import Interval
from harness.store.history import Entry
from report.reading.run import Run
from report.render.document import Drawing
from report.render.style import Look, label_speeds, looks, objects_title, plain, tidy
from report.sections.points_table import with_ends

MOST_PANELS, MOST_ACROSS = 12, 3
MOST_RUNS = 30
"""In a panel: the marks of more would cover each other."""
LEAST_SPAN = 1.5
"""Of a panel, its top by its bottom, so that noise does not look like news."""
FURTHEST = 2.0
"""Beyond the highest and the lowest speed-up by so much bars are cut off: a wide one would flatten the whole line."""
STEP_WIDTH = 0.15
"""Of the number at a step, as a part of its panel."""
LETTERS = 40
"""Above a panel, in a line."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A point of this run, in all runs on its device.

    row: of the summary. entries: the runs with an interval and those that were not ok, oldest first. mine: this run's
    place among them. intervals, steps: speed-ups, and their changes at steps, by place.
    """

    row: pd.Series
    entries: list[Entry]
    mine: int
    intervals: dict[int, Interval]
    steps: dict[int, Interval]


def draw_trends(run: Run, found: Sequence[Trend]) -> Drawing:
    """A panel a trend, in their order, as far as a page bears."""
    styles, chosen = looks(run.summary), found[:MOST_PANELS]
    across = min(len(chosen), MOST_ACROSS)
    down = -(-len(chosen) // across)
    figure = Figure(figsize=(0.8 + 3.8 * across, 0.3 + 2.4 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    panels, marks = list(grid.flat), list[tuple[str, str]]()
    for panel, trend in zip(panels, chosen, strict=False):
        marks += _draw(panel, trend, styles[trend.row["label"]], len(marks))
    for unused in panels[len(chosen) :]:
        unused.set_axis_off()
    for row in grid:
        row[0].set_ylabel("speed-up")
    caption = (
        "Runs in order of time (UTC), this one ringed; bars are 95% intervals. A dashed line with a number is a step "
        "and its change, a cross at the bottom a run that was not ok."
    )
    if any(len(trend.entries) > MOST_RUNS for trend in chosen):
        caption += f" At most {MOST_RUNS} runs of a point are drawn."
    if len(found) > len(chosen):
        caption += f" {len(found) - len(chosen)} more points are in the table only."
    return Drawing(
        name="trends",
        alt="speed-up of each point from run to run",
        figure=figure,
        caption=caption,
        told=tuple(marks),
    )


def _draw(panel: Axes, trend: Trend, look: Look, first: int) -> list[tuple[str, str]]:
    """The last runs, or those around this one where it is older; what each tells."""
    begin = max(0, min(trend.mine - MOST_RUNS // 2, len(trend.entries) - MOST_RUNS))
    places = range(begin, min(begin + MOST_RUNS, len(trend.entries)))
    low, high = _limits(list(trend.intervals.values()))
    shown = {place: interval for place, interval in trend.intervals.items() if place in places}
    values = [one.value for one in shown.values()]
    reach = [[one.value - one.lo for one in shown.values()], [one.hi - one.value for one in shown.values()]]
    panel.plot(list(shown), values, color=look.colour, linewidth=1.2, alpha=0.7)
    panel.errorbar(list(shown), values, yerr=reach, fmt="none", ecolor=look.colour, elinewidth=1.2, capsize=2)
    marks: list[tuple[str, str]] = []
    for place in places:
        gid = f"told{first + len(marks)}"
        height, marker, colour = low * (high / low) ** 0.06, "x", "0.3"
        if place in shown:
            height, marker, colour = shown[place].value, look.marker, look.colour
        panel.plot(place, height, marker=marker, color=colour, markersize=5, gid=gid)
        marks.append((gid, _told(trend, place)))
        if place == trend.mine:
            panel.plot(place, height, "o", markersize=12, markerfacecolor="none", markeredgecolor="black")
    _mark_steps(panel, [place for place in trend.steps if place in places[1:]], trend.steps, len(places) * STEP_WIDTH)
    panel.axhline(1, color="0.4", linewidth=1, zorder=0)
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    label_speeds(panel)
    margin = 0.5 + len(places) / 40
    panel.set_xlim(places[0] - margin, places[-1] + margin)
    panel.set_xticks(*_ticks(trend.entries, places))
    panel.set_title(plain(_which(trend.row)), fontsize=9)
    tidy(panel)
    panel.grid(visible=False, axis="x")
    return marks


def _limits(intervals: Sequence[Interval]) -> tuple[float, float]:
    """With room above for the numbers at steps, and below for crosses."""
    values = [one.value for one in intervals]
    low = max(min(one.lo for one in intervals), min(values) / FURTHEST)
    high = min(max(one.hi for one in intervals), max(values) * FURTHEST)
    middle, reach = (low * high) ** 0.5, max(high / low, LEAST_SPAN) ** 0.5
    return middle / reach**1.4, middle * reach**1.5


def _mark_steps(panel: Axes, places: Sequence[int], changes: dict[int, Interval], width: float) -> None:
    """A line at each, and its number where that of a later one leaves room."""
    free, above = float("inf"), panel.get_xaxis_transform()
    for place in reversed(places):
        panel.axvline(place - 0.5, ymax=0.88, color="0.2", linestyle="--", linewidth=1.2)
        if free - place > width:
            size = f"{changes[place].value - 1:+.0%}"
            panel.text(place - 0.5, 0.98, size, transform=above, ha="center", va="top", fontsize=9, fontweight="bold")
            free = place


def _ticks(entries: Sequence[Entry], places: range) -> tuple[list[int], list[str]]:
    """First, middle and last, by their dates; with the time where days do not tell them apart."""
    chosen = sorted({places[0], places[len(places) // 2], places[-1]})
    times = [entries[place].time for place in chosen]
    days = [time[:10] for time in times]
    return chosen, days if len(set(days)) == len(days) else [f"{time[5:10]} {time[11:16]}" for time in times]


def _told(trend: Trend, place: int) -> str:
    entry = trend.entries[place]
    mine = " (this run)" if place == trend.mine else ""
    commit = f", commit {commit_of(entry)}" if entry.commit else ""
    found = with_ends(trend.intervals[place]) if place in trend.intervals else entry.status
    step = f", a step by {with_ends(trend.steps[place])}" if place in trend.steps else ""
    return f"{entry.run}{mine}, {entry.time[:10]}{commit}: {found}{step}"


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", {objects_title(row['objects'])}"
    repeat = f", repeat {row['repeat']:.0f}" if row["repeat"] > 0 else ""
    return f"{fill(row['label'], LETTERS)}\nbatch {row['batch']:.0f}{objects}{repeat}"


def commit_of(entry: Entry) -> str | None:
    return entry.commit and entry.commit[:8]
