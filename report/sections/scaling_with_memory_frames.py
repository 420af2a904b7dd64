"""How speed and memory change with the number of memory frames, where a run has more than one."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.reading.run import Run
from report.reading.samples import fps_interval
from report.render.document import Drawing, Section
from report.render.style import Style, batch_axis, label_speeds, legend, objects_title, plain, positive, styles_of, tidy
from report.sections.points_table import memory_column

BARS = " Bars are 95% intervals of the median block, from the raw samples."


def memory_frames_section(run: Run) -> Section | None:
    return Section.of("Scaling with memory frames", draw_memory_frames(run))


def draw_memory_frames(run: Run) -> Drawing | None:
    """Draw the points of the batch and object count with the most different numbers of references.

    Returns None where all points have as many references.
    """
    summary, memory = run.summary, memory_column(run.summary)
    known = summary[["refs", "batch", "objects"]].notna().all(axis=1)
    measured = summary[(summary["status"] == "ok") & positive(summary["fps"]) & known]
    if measured["refs"].nunique() < 2:
        return None
    spans = measured.groupby(["batch", "objects"])["refs"].nunique()
    batch, objects = max(spans.index, key=lambda setting: (spans[setting], setting))
    here = measured[(measured["batch"] == batch) & (measured["objects"] == objects)]
    quantities = {"fps": "targets per second", memory: "peak memory (MB)"}
    titles = {name: title for name, title in quantities.items() if here[name].notna().any()}
    figure = Figure(figsize=(1.5 + 3.8 * len(titles), 3.6), layout="constrained")
    panels = list(figure.subplots(1, len(titles), squeeze=False)[0])
    styles, tooltips = styles_of(summary.assign(label=summary["any_refs"])), list[tuple[str, str]]()
    intervals = {at: interval for at, row in here.iterrows() if (interval := fps_interval(run, row)) is not None}
    for panel, (name, title) in zip(panels, titles.items(), strict=True):
        for line, points in here[here[name].notna()].groupby("any_refs"):
            style = styles[str(line)]
            _line(panel, points.groupby("refs")[name].median(), style, str(line))
            for at, row in points.iterrows():
                gid = f"mark{len(tooltips)}"
                references = f"{row['refs']:.0f} reference{'s' if row['refs'] != 1 else ''}"
                text = f"{line}, {references}: {row[name]:.1f} {title}"
                panel.plot(row["refs"], row[name], color=style.colour, marker=style.marker, gid=gid)
                if name == "fps" and at in intervals:
                    ends = (intervals[at].lo, intervals[at].hi)
                    panel.plot([row["refs"]] * 2, ends, color=style.colour, linewidth=1.2, marker="_")
                    text += f" ({ends[0]:.1f}-{ends[1]:.1f})"
                tooltips.append((gid, text))
        batch_axis(panel, sorted(here["refs"].unique()), "references (memory frames)")
        panel.set_ylabel(title)
        tidy(panel)
        if name == "fps":
            panel.set_yscale("log")
            label_speeds(panel)
    legend(figure, panels)
    return Drawing(
        name="memory-frames",
        alt="speed and memory against the number of references",
        figure=figure,
        caption=f"At batch {batch:.0f} and {objects_title(objects)}." + (BARS if intervals else ""),
        tooltips=tuple(tooltips),
    )


def _line(panel: Axes, medians: pd.Series, style: Style, name: str) -> None:
    panel.plot(medians.index, medians, style.line, color=style.colour, linewidth=1.2)
    panel.plot([], [], style.line, color=style.colour, marker=style.marker, linewidth=1.2, label=plain(name))
