"""One point in several runs of one machine, as a line of its speed-ups."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from report.reading.run import finite
from report.render.document import Drawing
from report.render.style import COLOURS, objects_title, plain, tidy, titled
from report.sections.points_table import with_interval

MOST_RUNS = 40
"""The line shows at most so many runs, the last ones."""


def draw_runs(runs: Sequence[tuple[str, pd.Series]], *, name: str) -> Drawing | None:
    """Draw a point's speed-ups from run to run; returns None where fewer than two runs have one.

    runs: the name of each run and the point's row in it, oldest first. name: the drawing's.
    """
    timed = [(run, row) for run, row in runs if finite(row["speedup"])][-MOST_RUNS:]
    if len(timed) < 2:
        return None
    figure = Figure(figsize=(8.0, 2.3), layout="constrained")
    panel = figure.subplots()
    values = [float(row["speedup"]) for _, row in timed]
    panel.plot(range(len(timed)), values, color=COLOURS[0], linewidth=1.2, alpha=0.7)
    tooltips: list[tuple[str, str]] = []
    for at, (run, row) in enumerate(timed):
        panel.plot([at, at], [row["speedup_lo"], row["speedup_hi"]], color=COLOURS[0], linewidth=1.4)
        panel.plot(at, values[at], "o", color=COLOURS[0], markersize=6, gid=f"mark{at}")
        tooltips.append((f"mark{at}", f"{run}: {with_interval(row)}"))
    panel.set_ylim(0, 1.1 * max(finite(row["speedup_hi"]) or row["speedup"] for _, row in timed))
    panel.set_xlim(-0.5, len(timed) - 0.5)
    panel.set_xticks([])
    panel.set_ylabel("speed-up")
    last = timed[-1][1]
    objects = "" if pd.isna(last["objects"]) else f", {objects_title(last['objects'])}"
    which = f"{last['in_setting']}, batch {last['batch']:.0f}{objects}"
    titled(panel, plain(which), 9)
    tidy(panel)
    return Drawing(
        name=name,
        alt=f"speed-up of {which} from run to run",
        figure=figure,
        caption="The same point in the runs of this machine, oldest first; bars are 95% intervals.",
        tooltips=tuple(tooltips),
    )
