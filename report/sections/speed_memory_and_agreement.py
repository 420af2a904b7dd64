"""Speed against memory as a Pareto plot, with marks for masks that differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from report.reading.mask_status import masks_of
from report.reading.run import Run, finite
from report.render.document import Drawing, Paragraph, Section
from report.render.style import (
    Style,
    label_speeds,
    left_out_of,
    legend_columns,
    objects_title,
    plain,
    positive,
    styles_of,
    tidy,
    titled,
    uncrowded,
)
from report.sections.points_table import column, memory_column, oracles, points_table, text_column

ABOUT = {
    "cpu_s_per_1000": "`cpu_s_per_1000` is CPU seconds, of all cores, for 1,000 targets.",
    "matrix_share": "`gflop_per_s` is the arithmetic of the prediction stage, `matrix_share` its part of what large "
    "matrix products reached on this device in the same run.",
    "sdpa": "`sdpa` names the kernels of torch's attention that ran, the most frequent first.",
}
MOST_PANELS = 4
WIDE = 4.0
"""The memory axis is logarithmic where the largest value is more than so many times the smallest."""
MOST_NAMED = 24
"""Batches are written beside the marks of a panel with at most so many points."""
LEAST_SPAN = 0.05
"""The memory axis spans at least this share of its largest value, because smaller differences are noise; where all
points differ by less, there is nothing to draw."""
BESIDE = (6.0, 4.0)
"""The way from a mark to its batch, to the right and up, in points (1/72 inch)."""
LETTER = (5.0, 9.0)
"""Width and height of a letter of that batch, in points."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """Batches written beside a mark. place: the mark's values; corner: the text's corner on the page, in points."""

    batches: frozenset[int]
    place: tuple[float, float]
    corner: tuple[float, float]

    @property
    def text(self) -> str:
        return ", ".join(map(str, sorted(self.batches)))

    def covers(self, other: Name) -> bool:
        widths = [LETTER[0] * (len(one.text) + 1) for one in (self, other)]  # A blank is between them.
        (left, bottom), (left_of_other, bottom_of_other) = self.corner, other.corner
        beside = left + widths[0] <= left_of_other or left_of_other + widths[1] <= left
        return not beside and abs(bottom - bottom_of_other) < LETTER[1]

    def joined(self, other: Name) -> Name:
        """Return one name for the batches of both, beside the mark that is further to the right."""
        last = max(self, other, key=lambda one: one.corner)
        return Name(batches=self.batches | other.batches, place=last.place, corner=last.corner)


def pareto_section(run: Run) -> Section | None:
    table = points_table(
        run,
        [
            column("peak_rss_mb"),
            column("vram_peak_mb"),
            column("vram_reserved_mb"),
            column("vram_device_mb"),
            column("cpu_s_per_1000"),
            column("gflop_per_target"),
            column("gflop_per_s"),
            column("matrix_share"),
            text_column("sdpa"),
        ],
        "Memory and arithmetic",
    )
    notes = [about for name, about in ABOUT.items() if run.summary[name].notna().any()]
    note = Paragraph(text=" ".join(notes), quiet=True) if notes else None
    return Section.of("Speed, memory and agreement", draw_pareto(run), _same_memory(run), table, note)


def _same_memory(run: Run) -> Paragraph | None:
    """Say that memory does not tell points apart, where it would make no picture."""
    measured, memory, _ = _measured(run)
    if len(measured) < 2 or _apart(measured[memory]):
        return None
    low, high = measured[memory].min(), measured[memory].max()
    took = f"{high:,.0f} MB" if f"{low:.0f}" == f"{high:.0f}" else f"{low:,.0f} to {high:,.0f} MB"
    return Paragraph(text=f"All points took about the same memory, {took} (`{memory}`), so it does not decide.")


def _measured(run: Run) -> tuple[pd.DataFrame, str, str]:
    """Return the points that have a speed and a memory, and the columns of both."""
    summary, memory = run.summary, memory_column(run.summary)
    speed = "speedup" if positive(summary["speedup"]).any() else "fps"
    known = positive(summary[speed]) & positive(summary[memory])
    return summary[(summary["status"] == "ok") & known], memory, speed


def _apart(values: pd.Series) -> bool:
    return bool(values.max() - values.min() >= LEAST_SPAN * values.max())


def draw_pareto(run: Run) -> Drawing | None:
    """Return None where fewer than two points have a speed and a memory, or all have about the same memory."""
    measured, memory, speed = _measured(run)
    if len(measured) < 2 or not _apart(measured[memory]):
        return None
    points, measured = measured, uncrowded(measured, speed)
    measured = measured.assign(masks=[masks_of(run, row) or "not compared" for _, row in measured.iterrows()])
    counts = sorted(measured["objects"].unique())[-MOST_PANELS:]
    figure = Figure(figsize=(1.5 + 3.6 * len(counts), 3.7), layout="constrained")
    panels = list(figure.subplots(1, len(counts), sharey=True, squeeze=False)[0])
    styles, tooltips = styles_of(run.summary), list[tuple[str, str]]()
    for panel, objects in zip(panels, counts, strict=True):
        here = measured[measured["objects"] == objects]
        panel.set_yscale("log")
        _front(panel, here[here["masks"] != "differ"], memory, speed)
        for _, row in here.iterrows():
            gid = f"mark{len(tooltips)}"
            _mark(panel, row, styles[row["label"]], (memory, speed), gid)
            tooltips.append((gid, _tooltip(row, memory, speed)))
        panel.margins(x=0.12, y=0.12)
        titled(panel, objects_title(objects), 10)
        panel.set_xlabel("peak memory (MB)" if memory.startswith("peak") else "peak GPU memory (MB)")
        _label_memory(panel, here[memory])
        tidy(panel)
    for panel in panels:
        label_speeds(panel)
    panels[0].set_ylabel("speed-up" if speed == "speedup" else "targets per second")
    _legend(figure, measured, styles)
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)  # This gives the panels their places.
    for panel, objects in zip(panels, counts, strict=True):
        _name(figure, panel, measured[measured["objects"] == objects], (memory, speed))
    return Drawing(
        name="pareto",
        alt="speed against peak memory, by strategy, objects and agreement of the masks",
        figure=figure,
        caption="Up and to the left is better; numbers are batches. The grey line joins the points with the masks of "
        f"{oracles(run)} that no other beats in both; crossed points have other masks." + left_out_of(measured, points),
        tooltips=tuple(tooltips),
    )


def _label_memory(panel: Axes, values: pd.Series) -> None:
    if values.max() > WIDE * values.min():
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:,.0f}")
    else:
        low, high = panel.get_xlim()
        short = max(0.0, LEAST_SPAN * values.max() - (high - low))
        panel.set_xlim(low - short / 2, high + short / 2)
        panel.ticklabel_format(axis="x", style="plain", useOffset=False)


def _front(panel: Axes, points: pd.DataFrame, memory: str, speed: str) -> None:
    ordered = points.sort_values([memory, speed], ascending=[True, False])
    best = ordered[ordered[speed] > ordered[speed].cummax().shift(fill_value=0)]
    panel.step(best[memory], best[speed], where="post", color="0.75", linewidth=1.2, zorder=0)


def _mark(panel: Axes, row: pd.Series, style: Style, axes: tuple[str, str], gid: str) -> None:
    memory, speed = axes
    panel.plot(row[memory], row[speed], marker=style.marker, color=style.colour, linestyle="", markersize=7, gid=gid)
    if row["masks"] == "differ":
        panel.plot(row[memory], row[speed], marker="x", color="black", markersize=9, markeredgewidth=1.4)


def _name(figure: Figure, panel: Axes, points: pd.DataFrame, axes: tuple[str, str]) -> None:
    """Write batches beside the marks, several in one text where they would cover each other."""
    names: list[Name] = []
    for _, row in points.dropna(subset="batch").iterrows() if len(points) <= MOST_NAMED else ():
        place = (row[axes[0]], row[axes[1]])
        at = panel.transData.transform(place) * 72 / figure.dpi
        name = Name(batches=frozenset({int(row["batch"])}), place=place, corner=(float(at[0]), float(at[1])))
        while covered := next((one for one in names if one.covers(name)), None):
            names.remove(covered)
            name = name.joined(covered)
        names.append(name)
    for name in names:
        panel.annotate(name.text, name.place, xytext=BESIDE, textcoords="offset points", fontsize=8, color="0.25")


def _tooltip(row: pd.Series, memory: str, speed: str) -> str:
    iou = "" if finite(row["iou_min"]) is None else f", smallest IoU {row['iou_min']:.4f}"
    return (
        f"{row['label']}, batch {row['batch']:.0f}: {speed} {row[speed]:.2f}, {row[memory]:.0f} MB, "
        f"masks {row['masks']}{iou}"
    )


def _legend(figure: Figure, measured: pd.DataFrame, styles: dict[str, Style]) -> None:
    handles = [
        Line2D([], [], color=styles[name].colour, marker=styles[name].marker, linestyle="", label=plain(name))
        for name in np.unique(measured["label"])
    ]
    if (measured["masks"] == "differ").any():
        handles.append(Line2D([], [], color="black", marker="x", linestyle="", label="masks differ"))
    columns = legend_columns(figure, [str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
