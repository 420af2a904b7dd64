"""Speed against batch, a panel for each object count: frames per second, and speed-up, with their intervals.

One batch is no line: where a run has no other, each strategy has a line of its own on which its speed and interval lie.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.reading.run import Run, finite
from report.reading.samples import fps_interval
from report.render.document import Drawing, Section
from report.render.style import (
    Style,
    batch_axis,
    label_speeds,
    left_out_of,
    legend,
    objects_title,
    plain,
    positive,
    styles_of,
    tidy,
    titled,
    uncrowded,
)
from report.sections.points_table import ratio, with_interval

APART = 0.06
"""Octaves between points of one batch, so that their error bars do not cover each other."""
FURTHEST = 0.3
"""A point is drawn at most so many octaves away from its batch."""
MOST_PANELS = 4
"""At most so many panels are side by side."""


def throughput_section(run: Run) -> Section | None:
    title = "Speed of each strategy" if run.summary["batch"].nunique() == 1 else "Speed against batch"
    return Section.of(title, draw_throughput(run), draw_speedups(run))


def draw_throughput(run: Run) -> Drawing | None:
    """Return None where no point has an fps."""
    summary = run.summary
    measured = summary[positive(summary["fps"]) & (summary["status"] == "ok")]
    if measured.empty:
        return None
    intervals = [fps_interval(run, row) for _, row in measured.iterrows()]
    nan = float("nan")
    ends = measured.assign(
        value=measured["fps"],
        lo=[nan if one is None else one.lo for one in intervals],
        hi=[nan if one is None else one.hi for one in intervals],
    )

    def tooltip(row: pd.Series) -> str:
        interval = f" ({row['lo']:.1f}-{row['hi']:.1f})" if finite(row["lo"]) else ""
        return f"{_which(row)}: {row['fps']:.1f} targets/s{interval}"

    drawn = uncrowded(ends, "value")
    against = "" if _one_batch(ends) else " against batch"
    figure, _, tooltips = _plot(drawn, styles_of(summary), "targets per second", tooltip)
    bars = "Bars are 95% intervals of the median block, from the raw samples. " if any(intervals) else ""
    return Drawing(
        name="throughput",
        alt=f"targets per second{against}, by strategy and objects",
        figure=figure,
        caption=f"{bars}Hollow points did not converge.{left_out_of(drawn, ends)}",
        tooltips=tooltips,
    )


def draw_speedups(run: Run) -> Drawing | None:
    """Return None where no point has a speed-up."""
    measured = run.summary[positive(run.summary["speedup"])]
    if measured.empty:
        return None
    ends = measured.assign(value=measured["speedup"], lo=measured["speedup_lo"], hi=measured["speedup_hi"])

    def tooltip(row: pd.Series) -> str:
        return f"{_which(row)}: {with_interval(row)} times {row['reference']}, {row['verdict']}"

    drawn, one_batch = uncrowded(ends, "value"), _one_batch(ends)
    against = "" if one_batch else " against batch"
    figure, panels, tooltips = _plot(drawn, styles_of(run.summary), "speed-up", tooltip)
    bands = same_bands(run)
    band = bands[0] if len(bands) == 1 else None
    for panel in panels:
        line, span = (panel.axvline, panel.axvspan) if one_batch else (panel.axhline, panel.axhspan)
        line(1, color="0.4", linewidth=1, zorder=0)
        if band is not None:
            span(1 / (1 + band), 1 + band, color="0.88", zorder=-1)
        label_speeds(panel, "x" if one_batch else "y")
    shaded = ""
    if band is not None:
        shaded = f"the shaded band ({ratio(1 / (1 + band))}-{ratio(1 + band)}) counts as the same speed, "
    return Drawing(
        name="speedup",
        alt=f"speed-up over the baseline{against}, by strategy and objects",
        figure=figure,
        caption=f"Bars are 95% intervals, {shaded}and hollow points did not converge.{left_out_of(drawn, ends)}",
        tooltips=tooltips,
    )


def same_bands(run: Run) -> list[float]:
    """Return by how much speeds may differ and still count as the same, as shares of 1.

    There is more than one such share where points were measured with different options.
    """
    return sorted({value for value in map(finite, run.stored("config", "timing", "same")) if value is not None})


def _plot(
    measured: pd.DataFrame, styles: dict[str, Style], title: str, tooltip: Callable[[pd.Series], str]
) -> tuple[Figure, list[Axes], tuple[tuple[str, str], ...]]:
    """Return the figure, its panels, and the tooltips of its points. measured: has columns value, lo and hi."""
    if _one_batch(measured):
        return _one_line_each(measured, styles, title, tooltip)
    measured = _spread(measured)
    counts = _counts(measured)
    across = min(len(counts), MOST_PANELS)
    down = -(-len(counts) // across)
    figure = Figure(figsize=(1.5 + 3.6 * across, 0.6 + 3.0 * down), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    panels = list(grid.flat)[: len(counts)]
    for unused in list(grid.flat)[len(counts) :]:
        unused.set_axis_off()
    tooltips: list[tuple[str, str]] = []
    for panel, objects in zip(panels, counts, strict=True):
        panel.set_yscale("log")
        here = measured[measured["objects"] == objects] if objects == objects else measured
        for name, points in here.groupby("label"):
            tooltips += _draw(panel, points, styles[str(name)], tooltip, len(tooltips))
        batch_axis(panel, sorted(measured["batch"].unique()))
        if objects == objects:
            titled(panel, objects_title(objects), 10)
        tidy(panel)
    for panel in panels:
        label_speeds(panel)
    for row in grid:
        row[0].set_ylabel(title)
    legend(figure, panels)
    return figure, panels, tuple(tooltips)


def _one_batch(measured: pd.DataFrame) -> bool:
    return measured["batch"].nunique() <= 1


def _counts(measured: pd.DataFrame) -> list[float]:
    """Return the numbers of objects, of which each has a panel; one that is no number where none is known."""
    return sorted(measured["objects"].dropna().unique()) or [float("nan")]


def _one_line_each(
    measured: pd.DataFrame, styles: dict[str, Style], title: str, tooltip: Callable[[pd.Series], str]
) -> tuple[Figure, list[Axes], tuple[tuple[str, str], ...]]:
    """Draw the points of one batch, the fastest strategy on top; returns what `_plot` does."""
    counts = _counts(measured)[-MOST_PANELS:]
    names = list(measured.groupby("label")["value"].max().sort_values(ascending=False).index)
    figure = Figure(figsize=(2.6 + 3.0 * len(counts), 0.9 + 0.3 * len(names)), layout="constrained")
    panels = list(figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0])
    tooltips: list[tuple[str, str]] = []
    for panel, objects in zip(panels, counts, strict=True):
        panel.set_xscale("log")
        here = measured[measured["objects"] == objects] if objects == objects else measured
        for _, row in here.iterrows():
            gid, style, place = f"mark{len(tooltips)}", styles[row["label"]], names.index(row["label"])
            panel.plot([row["lo"], row["hi"]], [place, place], color=style.colour, linewidth=1.6, alpha=0.8)
            fill = "white" if row["converged"] is False else style.colour
            mark = {"marker": style.marker, "color": style.colour, "markerfacecolor": fill, "markersize": 7}
            panel.plot(row["value"], place, gid=gid, **mark)
            tooltips.append((gid, tooltip(row)))
        if objects == objects:
            titled(panel, objects_title(objects), 10)
        panel.set_xlabel(title)
        tidy(panel)
    panels[0].set_yticks(range(len(names)), [plain(name) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    for panel in panels:
        label_speeds(panel, "x")
    return figure, panels, tuple(tooltips)


def _draw(
    panel: Axes, points: pd.DataFrame, style: Style, tooltip: Callable[[pd.Series], str], first: int
) -> list[tuple[str, str]]:
    line = points.groupby("batch")[["place", "value"]].median()
    panel.plot(line["place"], line["value"], color=style.colour, linestyle=style.line, linewidth=1.2, alpha=0.7)
    name = plain(points["label"].iloc[0])
    panel.plot([], [], style.line, color=style.colour, marker=style.marker, linewidth=1.2, label=name)
    below = (points["value"] - points["lo"]).clip(lower=0)
    above = (points["hi"] - points["value"]).clip(lower=0)
    panel.errorbar(
        points["place"],
        points["value"],
        yerr=[below, above],
        fmt="none",
        ecolor=style.colour,
        elinewidth=1.2,
        capsize=3,
    )
    tooltips: list[tuple[str, str]] = []
    for _, row in points.iterrows():
        gid = f"mark{first + len(tooltips)}"
        fill = "white" if row["converged"] is False else style.colour
        panel.plot(
            row["place"],
            row["value"],
            marker=style.marker,
            color=style.colour,
            markerfacecolor=fill,
            markersize=6,
            gid=gid,
        )
        tooltips.append((gid, tooltip(row)))
    return tooltips


def _spread(measured: pd.DataFrame) -> pd.DataFrame:
    """Add a column ``place``: the batch, moved a little where several points have the same batch and objects."""
    together = measured.sort_values(["label", "repeat"]).groupby(["objects", "batch"], dropna=False)
    rank, count = together.cumcount(), together["label"].transform("size")
    furthest = (APART * (count - 1) / 2).clip(upper=FURTHEST)
    moved = (2 * rank / (count - 1).clip(lower=1) - 1) * furthest
    return measured.assign(place=measured["batch"] * 2.0 ** moved.where(count > 1, 0))


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", {objects_title(row['objects'])}"
    return f"{row['label']}, batch {row['batch']:.0f}{objects}"
