"""Trends as lines: each point has a small panel with the runs from left to right and its steps marked."""

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
from report.render.style import Style, label_speeds, objects_title, plain, styles_of, tidy, titled
from report.sections.points_table import with_ends

MOST_PANELS, MOST_ACROSS = 12, 3
MOST_RUNS = 30
"""A panel shows at most so many runs, because the marks of more would cover each other."""
LEAST_SPAN = 1.5
"""A panel's top is at least so many times its bottom, so that noise does not look like a change."""
FURTHEST = 2.0
"""Bars are cut off at so many times the highest, or one such part of the lowest, speed-up: a wide one would flatten the
whole line."""
STEP_WIDTH = 0.15
"""The width of the number at a step, as a share of its panel's."""
LETTERS = 40
"""A line of the title above a panel has at most so many letters."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A point of this run, in all runs on its device.

    row: the point's row of the summary. entries: the runs in which it has an interval or was not ok, oldest first.
    current: this run's place among them. intervals: speed-ups by place. steps: at each place with a step, the ratio of
    the speed-up after it to that before it.
    """

    row: pd.Series
    entries: list[Entry]
    current: int
    intervals: dict[int, Interval]
    steps: dict[int, Interval]


def draw_trends(run: Run, found: Sequence[Trend]) -> Drawing:
    """Draw a panel for each trend, in their order, up to as many as fit on a page."""
    styles, chosen = styles_of(run.summary), found[:MOST_PANELS]
    across = min(len(chosen), MOST_ACROSS)
    down = -(-len(chosen) // across)
    figure = Figure(figsize=(0.8 + 3.8 * across, 0.3 + 2.4 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    panels, tooltips = list(grid.flat), list[tuple[str, str]]()
    for panel, trend in zip(panels, chosen, strict=False):
        tooltips += _draw(panel, trend, styles[trend.row["label"]], len(tooltips))
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
        tooltips=tuple(tooltips),
    )


def _draw(panel: Axes, trend: Trend, style: Style, first: int) -> list[tuple[str, str]]:
    """Draw a trend's last runs, or those around the current run where it is older; returns the runs' tooltips."""
    begin = max(0, min(trend.current - MOST_RUNS // 2, len(trend.entries) - MOST_RUNS))
    places = range(begin, min(begin + MOST_RUNS, len(trend.entries)))
    low, high = _limits(list(trend.intervals.values()))
    shown = {place: interval for place, interval in trend.intervals.items() if place in places}
    values = [one.value for one in shown.values()]
    reach = [[one.value - one.lo for one in shown.values()], [one.hi - one.value for one in shown.values()]]
    panel.plot(list(shown), values, color=style.colour, linewidth=1.2, alpha=0.7)
    panel.errorbar(list(shown), values, yerr=reach, fmt="none", ecolor=style.colour, elinewidth=1.2, capsize=2)
    tooltips: list[tuple[str, str]] = []
    for place in places:
        gid = f"mark{first + len(tooltips)}"
        height, marker, colour = low * (high / low) ** 0.06, "x", "0.3"
        if place in shown:
            height, marker, colour = shown[place].value, style.marker, style.colour
        panel.plot(place, height, marker=marker, color=colour, markersize=5, gid=gid)
        tooltips.append((gid, _tooltip(trend, place)))
        if place == trend.current:
            panel.plot(place, height, "o", markersize=12, markerfacecolor="none", markeredgecolor="black")
    _mark_steps(panel, [place for place in trend.steps if place in places[1:]], trend.steps, len(places) * STEP_WIDTH)
    panel.axhline(1, color="0.4", linewidth=1, zorder=0)
    panel.set_yscale("log")
    panel.set_ylim(low, high)
    label_speeds(panel)
    margin = 0.5 + len(places) / 40
    panel.set_xlim(places[0] - margin, places[-1] + margin)
    panel.set_xticks(*_ticks(trend.entries, places))
    titled(panel, plain(_which(trend.row)), 9)
    tidy(panel)
    panel.grid(visible=False, axis="x")
    return tooltips


def _limits(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the limits of the y axis, with room above for the numbers at steps and below for crosses."""
    values = [one.value for one in intervals]
    low = max(min(one.lo for one in intervals), min(values) / FURTHEST)
    high = min(max(one.hi for one in intervals), max(values) * FURTHEST)
    middle, reach = (low * high) ** 0.5, max(high / low, LEAST_SPAN) ** 0.5
    return middle / reach**1.4, middle * reach**1.5


def _mark_steps(panel: Axes, places: Sequence[int], steps: dict[int, Interval], width: float) -> None:
    """Draw a line at each step, and its number where the number of a later step leaves room."""
    free, above = float("inf"), panel.get_xaxis_transform()
    for place in reversed(places):
        panel.axvline(place - 0.5, ymax=0.88, color="0.2", linestyle="--", linewidth=1.2)
        if free - place > width:
            size = f"{steps[place].value - 1:+.0%}"
            panel.text(place - 0.5, 0.98, size, transform=above, ha="center", va="top", fontsize=9, fontweight="bold")
            free = place


def _ticks(entries: Sequence[Entry], places: range) -> tuple[list[int], list[str]]:
    """Return the first, middle and last place with their dates, and with the time where two have the same date."""
    chosen = sorted({places[0], places[len(places) // 2], places[-1]})
    times = [entries[place].time for place in chosen]
    days = [time[:10] for time in times]
    return chosen, days if len(set(days)) == len(days) else [f"{time[5:10]} {time[11:16]}" for time in times]


def _tooltip(trend: Trend, place: int) -> str:
    entry = trend.entries[place]
    current = " (this run)" if place == trend.current else ""
    commit = f", commit {commit_of(entry)}" if entry.commit else ""
    found = with_ends(trend.intervals[place]) if place in trend.intervals else entry.status
    step = f", a step by {with_ends(trend.steps[place])}" if place in trend.steps else ""
    return f"{entry.run}{current}, {entry.time[:10]}{commit}: {found}{step}"


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", {objects_title(row['objects'])}"
    repeat = f", repeat {row['repeat']:.0f}" if row["repeat"] > 0 else ""
    return f"{fill(row['label'], LETTERS)}\nbatch {row['batch']:.0f}{objects}{repeat}"


def commit_of(entry: Entry) -> str | None:
    return entry.commit and entry.commit[:8]
