"""What fits into memory: the smallest point that did not, or the largest that did, and a map over batch and objects."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd

from report.reading.run import Run
from report.render.document import Block, Paragraph, Section
from report.render.style import objects_title
from report.sections.batch_objects_map import MapCell, draw_map, is_grid, placed
from report.sections.points_table import memory_column

STATUS_COLOURS = {
    **{"ok": "#ffffff", "wrong": "#F0E442", "oom": "#D55E00", "timeout": "#E69F00"},
    **{"crash": "#CC79A7", "skipped": "#d9d9d9"},
}


def memory_section(run: Run) -> Section | None:
    """Return None where the grid has one batch and one object count, or nothing was tried."""
    tried = run.summary[run.summary["status"] != "skipped"]
    if not is_grid(tried):
        return None
    found: list[Block] = [Paragraph(text=_largest(run, tried))]
    known = placed(tried)
    if (known["status"] == "oom").any():
        found.append(
            draw_map(
                known[known["label"].isin(known["label"][known["status"] == "oom"])],
                lambda points: _cell(points, memory_column(run.summary)),
                name="memory-frontier",
                alt="what fits into memory over batch and objects, by strategy",
                caption="Peak memory (MB), or how the rest ended; strategies that always fit are left out.",
            )
        )
    return Section.of("What fits into memory", *found)


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


def _cell(points: pd.DataFrame, column: str) -> MapCell:
    """Return the cell of one setting's points: of repeated ones the worst end, because memory may run out there."""
    order = ["ok", "wrong", "skipped", "crash", "timeout", "oom"]
    row = points.iloc[int(points["status"].map(order.index).argmax())]
    fits = row["status"] == "ok" and pd.notna(row[column])
    tooltip = f"{row['label']}, batch {row['batch']:.0f}, objects {row['objects']:.0f}: {row['status']}"
    return MapCell(
        text=f"{row[column]:.0f}" if fits else str(row["status"]),
        colour=mpl.colors.to_rgba(STATUS_COLOURS[row["status"]]),
        tooltip=tooltip,
    )
