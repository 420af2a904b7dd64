"""How speed and memory change with the number of memory frames, where a run has more than one."""

from __future__ import annotations

from matplotlib.figure import Figure

from report.document import Drawing, Section
from report.points import memory_column
from report.run import Run
from report.style import batch_axis, label_speeds, legend, looks, plain, positive, tidy


def memory_frames_section(run: Run) -> Section | None:
    return Section.of("Scaling with memory frames", memory_frames(run))


def memory_frames(run: Run) -> Drawing | None:
    """At the batch and object count that most points have; None where all have as many references."""
    summary, memory = run.summary, memory_column(run.summary)
    measured = summary[(summary["status"] == "ok") & positive(summary["fps"]) & summary["refs"].notna()]
    if measured["refs"].nunique() < 2:
        return None
    spans = measured.groupby(["batch", "objects"])["refs"].nunique()
    batch, objects = max(spans.index, key=lambda setting: (spans[setting], setting))
    here = measured[(measured["batch"] == batch) & (measured["objects"] == objects)]
    quantities = {"fps": "targets per second", memory: "peak memory (MB)"}
    shown = {name: title for name, title in quantities.items() if here[name].notna().any()}
    figure = Figure(figsize=(1.5 + 3.8 * len(shown), 3.6), layout="constrained")
    panels = list(figure.subplots(1, len(shown), squeeze=False)[0])
    styles, marks = looks(summary), list[tuple[str, str]]()
    for panel, (name, title) in zip(panels, shown.items(), strict=True):
        for family, points in here[here[name].notna()].groupby("family"):
            line, look = points.groupby("refs")[name].median(), styles[str(family)]
            panel.plot(line.index, line, color=look.colour, linewidth=1.2, marker=look.marker, label=plain(str(family)))
            for refs, value in line.items():
                gid = f"told{len(marks)}"
                panel.plot(refs, value, color=look.colour, marker=look.marker, gid=gid)
                marks.append((gid, f"{family}, {refs:.0f} references: {value:.1f} {title}"))
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
        caption=f"At batch {batch:.0f} and {objects:.0f} objects.",
        told=tuple(marks),
    )
