"""Maps over batch and objects, a panel for each strategy; for the sections on speed-up and on memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from report.render.document import Drawing
from report.render.style import plain, titled

DARK = 0.45
"""Luminance below which text on a cell is white."""
ACROSS = 4


@dataclass(frozen=True, kw_only=True)
class MapCell:
    """A cell of a map."""

    text: str
    colour: tuple[float, ...]
    tooltip: str


def placed(points: pd.DataFrame) -> pd.DataFrame:
    """Select the points that have a place on the map: one that failed may not store how many objects "all" are."""
    return points[points["batch"].notna() & points["objects"].notna()]


def is_grid(points: pd.DataFrame) -> bool:
    return points["batch"].nunique() > 1 or points["objects"].nunique() > 1


def draw_map(
    points: pd.DataFrame, fill: Callable[[pd.DataFrame], MapCell], *, name: str, alt: str, caption: str
) -> Drawing:
    labels = sorted(points["label"].unique())
    batches, counts = (sorted(points[axis].unique()) for axis in ("batch", "objects"))
    across = min(ACROSS, len(labels))
    down = -(-len(labels) // across)
    wide, high = max(1.9, 0.6 * len(batches)), max(0.7, 0.36 * len(counts))
    figure = Figure(figsize=(0.7 + (wide + 0.4) * across, (high + 0.75) * down), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    tooltips: list[tuple[str, str]] = []
    for panel, label in zip(panels, labels, strict=False):
        _frame(panel, label, batches, counts)
        for (batch, objects), of_cell in points[points["label"] == label].groupby(["batch", "objects"]):
            cell, gid = fill(of_cell), f"mark{len(tooltips)}"
            x, y = batches.index(batch), counts.index(objects)
            panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=cell.colour, edgecolor="0.6", gid=gid))
            ink = "white" if _luminance(cell.colour) < DARK else "black"
            panel.text(x, y, cell.text, ha="center", va="center", fontsize=8, color=ink)
            tooltips.append((gid, cell.tooltip))
    for unused in panels[len(labels) :]:
        unused.set_axis_off()
    return Drawing(name=name, alt=alt, figure=figure, caption=caption, tooltips=tuple(tooltips))


def _frame(panel: Axes, label: str, batches: list[float], counts: list[float]) -> None:
    titled(panel, plain(label), 9)
    panel.set_xlim(-0.5, len(batches) - 0.5)
    panel.set_ylim(-0.5, len(counts) - 0.5)
    panel.set_xticks(range(len(batches)), [f"{batch:.0f}" for batch in batches], fontsize=8)
    panel.set_yticks(range(len(counts)), [f"{count:.0f}" for count in counts], fontsize=8)
    panel.set_xlabel("batch", fontsize=8)
    panel.set_ylabel("objects", fontsize=8)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def _luminance(colour: tuple[float, ...]) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
