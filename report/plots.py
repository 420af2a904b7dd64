"""Plots of speed against batch, a panel for each object count: frames per second, and speed-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

# Okabe and Ito's palette, told apart by colour-blind readers too; a name keeps its colour in every plot of a run.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
APART = 0.06
"""Octaves between points of one batch in the plot of speed-ups, whose error bars would cover each other;"""
FURTHEST = 0.3
"""and at most so many from their batch."""

Draw = Callable[[Axes, pd.DataFrame, str, str], None]
"""Draws one strategy's points of one object count, in a colour, with a marker."""


def style(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of every strategy of a run."""
    ordered = sorted(set(labels))
    return {name: (COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]) for at, name in enumerate(ordered)}


def plain(text: str) -> str:
    """For a plot, which would take what is between dollars for a formula."""
    return text.replace("$", r"\$")


def plot_throughput(summary: pd.DataFrame, path: Path) -> bool:
    """Frames per second against batch; False where nothing was measured."""
    measured = summary[_positive(summary["fps"]) & (summary["status"] == "ok")]
    if measured.empty:
        return False
    figure, _ = _panels(measured, _draw_throughput, style(summary["label"]), "frames per second")
    figure.savefig(path, dpi=150)
    return True


def plot_speedup(summary: pd.DataFrame, path: Path, *, bands: Sequence[float]) -> bool:
    """Speed-up with its interval against batch; False where there is none. Points that did not converge are hollow.

    bands: what counts as the same speed; not shown where points differ in it.
    """
    measured = summary[_positive(summary["speedup"])]
    if measured.empty:
        return False
    figure, panels = _panels(_spread(measured), _draw_speedup, style(summary["label"]), "speed-up")
    for panel in panels:
        panel.axhline(1, color="0.4", linewidth=1, zorder=0)
        if len(bands) == 1:
            panel.axhspan(1 / (1 + bands[0]), 1 + bands[0], color="0.88", zorder=-1)
        _label_speeds(panel)
    figure.savefig(path, dpi=150)
    return True


def _positive(values: pd.Series) -> pd.Series:
    """What a logarithmic axis can show."""
    return np.isfinite(values) & (values > 0)


def _panels(
    measured: pd.DataFrame, draw: Draw, styles: dict[str, tuple[str, str]], ylabel: str
) -> tuple[Figure, list[Axes]]:
    counts = sorted(measured["objects"].unique())
    batches = sorted(measured["batch"].unique())
    figure = Figure(figsize=(1.5 + 3.6 * len(counts), 3.6), layout="constrained")
    panels = list(figure.subplots(1, len(counts), sharey=True, squeeze=False)[0])
    for panel, objects in zip(panels, counts, strict=True):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        for name, of_name in measured[measured["objects"] == objects].groupby("label"):
            draw(panel, of_name, *styles[str(name)])
        panel.set_xticks(batches, [f"{batch:.0f}" for batch in batches])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlim(batches[0] / 2**0.5, batches[-1] * 2**0.5)
        panel.set_xlabel("batch (targets)")
        panel.set_title(f"{objects:.0f} object{'s' if objects != 1 else ''}", fontsize=10)
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels:
        _label_speeds(panel)
    panels[0].set_ylabel(ylabel)
    named = {name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=min(4, len(named) or 1), frameon=False
    )
    return figure, panels


def _draw_throughput(panel: Axes, points: pd.DataFrame, colour: str, marker: str) -> None:
    line = points.groupby("batch")["fps"].max()
    panel.plot(line.index, line.to_numpy(), marker=marker, color=colour, label=plain(points["label"].iloc[0]))


def _draw_speedup(panel: Axes, points: pd.DataFrame, colour: str, marker: str) -> None:
    line = points.groupby("batch")[["place", "speedup"]].median()
    panel.plot(line["place"], line["speedup"], color=colour, linewidth=1, alpha=0.6)
    panel.plot([], [], marker=marker, color=colour, markersize=6, linewidth=1, label=plain(points["label"].iloc[0]))
    for converged, those in points.groupby(points["converged"] != "False"):
        below = (those["speedup"] - those["speedup_lo"]).clip(lower=0)
        above = (those["speedup_hi"] - those["speedup"]).clip(lower=0)
        panel.errorbar(
            those["place"],
            those["speedup"],
            yerr=[below, above],
            fmt=marker,
            color=colour,
            markersize=6,
            markerfacecolor=colour if converged else "white",
            elinewidth=1.2,
            capsize=2.5,
        )


def _spread(measured: pd.DataFrame) -> pd.DataFrame:
    """With a column ``place``: the batch, moved a little where several points have the same batch and objects."""
    together = measured.sort_values(["label", "repeat"]).groupby(["objects", "batch"])
    rank, count = together.cumcount(), together["label"].transform("size")
    furthest = (APART * (count - 1) / 2).clip(upper=FURTHEST)
    moved = (2 * rank / (count - 1).clip(lower=1) - 1) * furthest
    return measured.assign(place=measured["batch"] * 2.0 ** moved.where(count > 1, 0))


def _label_speeds(panel: Axes) -> None:
    """Numbers on a logarithmic axis, however much or little it spans."""
    low, high = panel.get_ylim()
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1,) if len(powers) > 5 else (1, 2, 5)
    ticks = [step * power for power in powers for step in steps if low <= step * power <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    panel.set_yticks(ticks, [f"{tick:.4g}" for tick in ticks])
    panel.yaxis.set_minor_locator(NullLocator())
