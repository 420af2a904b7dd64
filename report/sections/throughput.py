"""Speed against batch, a panel for each object count: frames per second, and speed-up, with their intervals."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.reading.run import Run, finite
from report.reading.samples import fps_interval
from report.render.document import Drawing, Section
from report.render.style import Look, batch_axis, label_speeds, legend, looks, objects_title, plain, positive, tidy
from report.sections.points_table import ratio, with_interval

APART = 0.06
"""Octaves between points of one batch, whose error bars would cover each other;"""
FURTHEST = 0.3
"""and at most so many from their batch."""
MOST_PANELS = 4
"""Side by side."""


def throughput_section(run: Run) -> Section | None:
    return Section.of("Speed against batch", throughput(run), speedup(run))


def throughput(run: Run) -> Drawing | None:
    """None where nothing was measured."""
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

    def told(row: pd.Series) -> str:
        interval = f" ({row['lo']:.1f}-{row['hi']:.1f})" if finite(row["lo"]) else ""
        return f"{_which(row)}: {row['fps']:.1f} targets/s{interval}"

    figure, _, marks = _plot(_spread(ends), looks(summary), "targets per second", told)
    bars = "Bars are 95% intervals of the median block, from the raw samples. " if any(intervals) else ""
    return Drawing(
        name="throughput",
        alt="targets per second against batch, by strategy and objects",
        figure=figure,
        caption=f"{bars}Hollow points did not converge.",
        told=marks,
    )


def speedup(run: Run) -> Drawing | None:
    """None where there is none."""
    measured = run.summary[positive(run.summary["speedup"])]
    if measured.empty:
        return None
    ends = measured.assign(value=measured["speedup"], lo=measured["speedup_lo"], hi=measured["speedup_hi"])

    def told(row: pd.Series) -> str:
        return f"{_which(row)}: {with_interval(row)} times {row['reference']}, {row['verdict']}"

    figure, panels, marks = _plot(_spread(ends), looks(run.summary), "speed-up", told)
    bands = same_bands(run)
    band = bands[0] if len(bands) == 1 else None
    for panel in panels:
        panel.axhline(1, color="0.4", linewidth=1, zorder=0)
        if band is not None:
            panel.axhspan(1 / (1 + band), 1 + band, color="0.88", zorder=-1)
        label_speeds(panel)
    shaded = ""
    if band is not None:
        shaded = f"the shaded band ({ratio(1 / (1 + band))}-{ratio(1 + band)}) counts as the same speed, "
    return Drawing(
        name="speedup",
        alt="speed-up over the baseline against batch, by strategy and objects",
        figure=figure,
        caption=f"Bars are 95% intervals, {shaded}and hollow points did not converge.",
        told=marks,
    )


def same_bands(run: Run) -> list[float]:
    """By how much speeds may differ and still count as the same; more than one where points were asked differently."""
    return sorted({value for value in map(finite, run.stored("config", "timing", "same")) if value is not None})


def _plot(
    measured: pd.DataFrame, styles: dict[str, Look], title: str, told: Callable[[pd.Series], str]
) -> tuple[Figure, list[Axes], tuple[tuple[str, str], ...]]:
    """measured: with columns place, value, lo, hi. Also what each point tells."""
    counts = sorted(measured["objects"].dropna().unique()) or [float("nan")]
    across = min(len(counts), MOST_PANELS)
    down = -(-len(counts) // across)
    figure = Figure(figsize=(1.5 + 3.6 * across, 0.6 + 3.0 * down), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    panels = list(grid.flat)[: len(counts)]
    for unused in list(grid.flat)[len(counts) :]:
        unused.set_axis_off()
    marks: list[tuple[str, str]] = []
    for panel, objects in zip(panels, counts, strict=True):
        panel.set_yscale("log")
        here = measured[measured["objects"] == objects] if objects == objects else measured
        for name, points in here.groupby("label"):
            marks += _draw(panel, points, styles[str(name)], told, len(marks))
        batch_axis(panel, sorted(measured["batch"].unique()))
        if objects == objects:
            panel.set_title(objects_title(objects), fontsize=10)
        tidy(panel)
    for panel in panels:
        label_speeds(panel)
    for row in grid:
        row[0].set_ylabel(title)
    legend(figure, panels)
    return figure, panels, tuple(marks)


def _draw(
    panel: Axes, points: pd.DataFrame, look: Look, told: Callable[[pd.Series], str], first: int
) -> list[tuple[str, str]]:
    line = points.groupby("batch")[["place", "value"]].median()
    panel.plot(line["place"], line["value"], color=look.colour, linestyle=look.line, linewidth=1.2, alpha=0.7)
    name = plain(points["label"].iloc[0])
    panel.plot([], [], look.line, color=look.colour, marker=look.marker, linewidth=1.2, label=name)
    below = (points["value"] - points["lo"]).clip(lower=0)
    above = (points["hi"] - points["value"]).clip(lower=0)
    panel.errorbar(
        points["place"], points["value"], yerr=[below, above], fmt="none", ecolor=look.colour, elinewidth=1.2, capsize=3
    )
    marks: list[tuple[str, str]] = []
    for _, row in points.iterrows():
        gid = f"told{first + len(marks)}"
        fill = "white" if row["converged"] is False else look.colour
        panel.plot(
            row["place"],
            row["value"],
            marker=look.marker,
            color=look.colour,
            markerfacecolor=fill,
            markersize=6,
            gid=gid,
        )
        marks.append((gid, told(row)))
    return marks


def _spread(measured: pd.DataFrame) -> pd.DataFrame:
    """With a column ``place``: the batch, moved a little where several points have the same batch and objects."""
    together = measured.sort_values(["label", "repeat"]).groupby(["objects", "batch"], dropna=False)
    rank, count = together.cumcount(), together["label"].transform("size")
    furthest = (APART * (count - 1) / 2).clip(upper=FURTHEST)
    moved = (2 * rank / (count - 1).clip(lower=1) - 1) * furthest
    return measured.assign(place=measured["batch"] * 2.0 ** moved.where(count > 1, 0))


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", {objects_title(row['objects'])}"
    return f"{row['label']}, batch {row['batch']:.0f}{objects}"
