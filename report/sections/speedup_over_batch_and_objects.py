"""How much faster each strategy is than the baseline, as a map over batch and objects."""

from __future__ import annotations

import math

import matplotlib as mpl
import pandas as pd

from report.reading.run import Run
from report.render.document import Section
from report.render.style import left_out_of, positive, uncrowded
from report.sections.batch_objects_map import MapCell, draw_map, is_grid, placed
from report.sections.points_table import ratio

SPEEDS = mpl.colormaps["PuOr"]
"""Orange is slower and violet is faster, which colour-blind readers can distinguish; the number is in the cell."""
WIDEST = 8.0
"""The speed-up, or slow-down, that has the strongest colour."""


def speedup_map_section(run: Run) -> Section | None:
    """Return None where the grid has one batch and one object count, or no speed-up."""
    measured = placed(run.summary[positive(run.summary["speedup"])])
    if not is_grid(measured):
        return None
    drawn = uncrowded(measured, "speedup")
    drawing = draw_map(
        drawn,
        _cell,
        name="speedup-map",
        alt="speed-up over batch and objects, by strategy",
        caption="Speed-up over the baseline: violet is faster, orange slower, the fainter the nearer to 1."
        + left_out_of(drawn, measured),
    )
    return Section.of("Speed-up over batch and objects", drawing)


def _cell(points: pd.DataFrame) -> MapCell:
    """Return the cell of one setting's points: the median of repeated ones, the lower of two in the middle."""
    row = points.sort_values("speedup").iloc[(len(points) - 1) // 2]
    part = math.log(row["speedup"]) / math.log(WIDEST)
    tooltip = f"{row['label']}, batch {row['batch']:.0f}, objects {row['objects']:.0f}: {ratio(row['speedup'])}"
    return MapCell(text=ratio(row["speedup"]), colour=SPEEDS(0.5 + min(0.5, max(-0.5, part / 2))), tooltip=tooltip)
