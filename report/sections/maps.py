"""Maps over batch and objects, a panel for each strategy: how much faster, and where memory ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from report.reading.run import Run
from report.render.document import Block, Drawing, Paragraph, Section
from report.render.style import objects_title, plain, positive
from report.sections.points_table import memory_column, ratio

SPEEDS = mpl.colormaps["PuOr"]
"""Orange is slower and violet faster, for colour-blind readers too; the number is in the cell."""
WIDEST = 8.0
"""Speed-up of the strongest colour."""
STATUS_COLOURS = {
    **{"ok": "#ffffff", "wrong": "#F0E442", "oom": "#D55E00", "timeout": "#E69F00"},
    **{"crash": "#CC79A7", "skipped": "#d9d9d9"},
}
DARK = 0.45
"""Luminance below which text on a cell is white."""
ACROSS = 4


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A cell of a map."""

    text: str
    colour: tuple[float, ...]
    told: str


def speedup_map_section(run: Run) -> Section | None:
    """None where the grid has one batch and one object count, or no speed-up."""
    measured = _placed(run.summary[positive(run.summary["speedup"])])
    if not _is_grid(measured):
        return None
    drawing = _draw(
        measured,
        _faster,
        name="speedup-map",
        alt="speed-up over batch and objects, by strategy",
        caption="Speed-up over the baseline: violet is faster, orange slower, the paler the nearer to 1.",
    )
    return Section.of("Speed-up over batch and objects", drawing)


def frontier_section(run: Run) -> Section | None:
    """None where the grid has one batch and one object count, or nothing was tried."""
    tried = run.summary[run.summary["status"] != "skipped"]
    if not _is_grid(tried):
        return None
    found: list[Block] = [Paragraph(text=_largest(run, tried))]
    placed = _placed(tried)
    if (placed["status"] == "oom").any():
        found.append(
            _draw(
                placed[placed["label"].isin(placed["label"][placed["status"] == "oom"])],
                lambda points: _ended(points, memory_column(run.summary)),
                name="memory-frontier",
                alt="what fits into memory over batch and objects, by strategy",
                caption="Peak memory (MB), or how the rest ended; strategies that always fit are left out.",
            )
        )
    return Section.of("What fits into memory", *found)


def _placed(points: pd.DataFrame) -> pd.DataFrame:
    """Those that have a place on the map: a point that failed may not know how many objects "all" are."""
    return points[points["batch"].notna() & points["objects"].notna()]


def _is_grid(points: pd.DataFrame) -> bool:
    return points["batch"].nunique() > 1 or points["objects"].nunique() > 1


def _largest(run: Run, tried: pd.DataFrame) -> str:
    column = memory_column(run.summary)
    out = tried[tried["status"] == "oom"]
    if len(out):
        sized = out.assign(pairs=out["batch"] * out["objects"])
        smallest = sized.sort_values(["pairs", "batch"], kind="stable").iloc[0]
        names = ", ".join(f"`{name}`" for name in sorted(out["label"].unique()))
        return (
            f"Memory ran out for {names}, in {len(out)} of {len(tried)} points; the smallest is "
            f"`{smallest['label']}` at {_place(smallest)}."
        )
    known = tried[tried[column].notna()]
    if known.empty:
        return "Nothing ran out of memory."
    most = known.sort_values(column).iloc[-1]
    return (
        f"Nothing ran out of memory. The most was {most[column]:,.0f} MB (`{column}`), of `{most['label']}` at "
        f"{_place(most)}."
    )


def _place(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f" and {objects_title(row['objects'])}"
    return f"batch {row['batch']:.0f}{objects}"


def _faster(points: pd.DataFrame) -> Filled:
    row = points.sort_values("speedup").iloc[(len(points) - 1) // 2]
    part = math.log(row["speedup"]) / math.log(WIDEST)
    told = f"{row['label']}, batch {row['batch']:.0f}, objects {row['objects']:.0f}: {ratio(row['speedup'])}"
    return Filled(text=ratio(row["speedup"]), colour=SPEEDS(0.5 + min(0.5, max(-0.5, part / 2))), told=told)


def _ended(points: pd.DataFrame, column: str) -> Filled:
    """Of repeated points the one that went worst: a frontier is where it may end."""
    order = ["ok", "wrong", "skipped", "crash", "timeout", "oom"]
    row = points.iloc[int(points["status"].map(order.index).argmax())]
    fits = row["status"] == "ok" and pd.notna(row[column])
    told = f"{row['label']}, batch {row['batch']:.0f}, objects {row['objects']:.0f}: {row['status']}"
    return Filled(
        text=f"{row[column]:.0f}" if fits else str(row["status"]),
        colour=mpl.colors.to_rgba(STATUS_COLOURS[row["status"]]),
        told=told,
    )


def _draw(
    points: pd.DataFrame, fill: Callable[[pd.DataFrame], Filled], *, name: str, alt: str, caption: str
) -> Drawing:
    labels = sorted(points["label"].unique())
    batches, counts = (sorted(points[axis].unique()) for axis in ("batch", "objects"))
    across = min(ACROSS, len(labels))
    down = -(-len(labels) // across)
    wide, high = max(1.9, 0.6 * len(batches)), max(0.7, 0.36 * len(counts))
    figure = Figure(figsize=(0.7 + (wide + 0.4) * across, (high + 0.75) * down), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    marks: list[tuple[str, str]] = []
    for panel, label in zip(panels, labels, strict=False):
        _frame(panel, label, batches, counts)
        for (batch, objects), of_cell in points[points["label"] == label].groupby(["batch", "objects"]):
            cell, gid = fill(of_cell), f"told{len(marks)}"
            x, y = batches.index(batch), counts.index(objects)
            panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=cell.colour, edgecolor="0.6", gid=gid))
            ink = "white" if _luminance(cell.colour) < DARK else "black"
            panel.text(x, y, cell.text, ha="center", va="center", fontsize=8, color=ink)
            marks.append((gid, cell.told))
    for unused in panels[len(labels) :]:
        unused.set_axis_off()
    return Drawing(name=name, alt=alt, figure=figure, caption=caption, told=tuple(marks))


def _frame(panel: Axes, label: str, batches: list[float], counts: list[float]) -> None:
    panel.set_title(plain(label), fontsize=9)
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
