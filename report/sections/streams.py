"""Streams, where they were measured: speed and latency, memory, drift over time, and what approximations lose."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.reading.run import Run, finite
from report.render.document import Cell, Drawing, Paragraph, Section, number
from report.render.style import legend, plain, positive, styles_of, tidy
from report.sections.points_table import PointColumn, column, points_table, speedup_cell, streamed, text_column
from report.sections.stream_losses import Loss, in_points, losses

STEPS = ("step_p50_ms", "step_p95_ms", "step_p99_ms", "step_jitter_ms")
KINDS = {"oracle": "IoU with the session", "truth": "J against truth"}
MOST_LINES = 8
"""At most so many points have a line in the plot of drift: the fastest of each label."""


def streams_section(run: Run) -> Section | None:
    """Return None where no point followed streams."""
    if not any(map(streamed, run.rows.values())):
        return None
    found = losses(run)
    table = _table(run, found)
    if table is None:
        return None
    note = (
        "`batch` is the videos that are followed at once, and `fps` frames per second of all of them together, the "
        "labelled ones too; `objects_per_s` counts (frame, object) pairs that are predicted. `step_*` are of steps "
        "with a frame of each video, `realtime` is how many times the camera's rate each video is followed at, and "
        "`pair_mb` what is kept between steps for each (video, object). `iou_mean` compares free runs, in which "
        "each strategy remembers its own predictions, and `floor_iou` is what rounding alone does there; "
        "`forced_iou_min` is of steps that start from the session's memory, and empty for strategies with another "
        "memory. `lost` is what an approximation loses, in points of 100, each object compared with itself."
    )
    return Section.of("Streams", table, Paragraph(text=note, quiet=True), draw_drift(run), draw_losses(run, found))


def _table(run: Run, found: Mapping[str, Loss]) -> Any:
    def of_streams(shown: PointColumn) -> PointColumn:
        return PointColumn(
            title=shown.title,
            cell=lambda row: shown.cell(row) if streamed(row) else Cell(),
            words=shown.words,
        )

    columns = [
        column("fps"),
        column("objects_per_s"),
        PointColumn(title="speedup", cell=speedup_cell),
        *map(column, STEPS),
        column("realtime"),
        column("pair_mb"),
        column("jf"),
        PointColumn(title="lost", cell=lambda row: _lost(found.get(str(row["point"])))),
        text_column("masks"),
        *map(column, ("iou_mean", "floor_iou", "forced_iou_min")),
    ]
    return points_table(run, [of_streams(one) for one in columns])


def _lost(loss: Loss | None) -> Cell:
    return Cell() if loss is None else number(loss.points.value, lambda _: in_points(loss))


def draw_drift(run: Run) -> Drawing | None:
    """Draw agreement with the session, and with truth, against the frame's place in its video.

    Returns None where no point has either.
    """
    lines = {str(row["point"]): run.of(row, "details", "stream", "drift") for _, row in _fastest(run).iterrows()}
    drifts = {name: drift for name, drift in lines.items() if isinstance(drift, dict)}
    shown = [kind for kind in KINDS if any(_line(drift, kind) for drift in drifts.values())]
    if not shown:
        return None
    figure = Figure(figsize=(1.5 + 4.2 * len(shown), 3.6), layout="constrained")
    panels = list(figure.subplots(1, len(shown), squeeze=False)[0])
    styles, tooltips = styles_of(run.summary), list[tuple[str, str]]()
    for panel, kind in zip(panels, shown, strict=True):
        for _, row in _fastest(run).iterrows():
            places = _line(drifts.get(str(row["point"])), kind)
            if not places:
                continue
            style, gid = styles[row["label"]], f"line{len(tooltips)}"
            panel.plot(
                *zip(*places, strict=True),
                style.line,
                color=style.colour,
                linewidth=1.4,
                gid=gid,
                label=plain(str(row["label"])),
            )
            mean = fmean(value for _, value in places)
            tooltips.append((gid, f"{row['label']}, {row['batch']:.0f} at once: {KINDS[kind]} {mean:.4f} on average"))
        if kind == "oracle":
            floor = next((line for drift in drifts.values() if (line := _line(drift, "floor"))), [])
            if floor:
                panel.plot(*zip(*floor, strict=True), color="0.6", linewidth=1, linestyle=":", label="rounding alone")
        panel.set_xlabel("frame of the video")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylabel(KINDS[kind])
        tidy(panel)
    legend(figure, panels)
    return Drawing(
        name="drift",
        alt="agreement with the session and with truth against the frame's place in its video",
        figure=figure,
        caption="Mean over the objects of all videos that have such a frame, in free runs: predictions are remembered.",
        tooltips=tuple(tooltips),
    )


def _fastest(run: Run) -> pd.DataFrame:
    """Return of each label the point that predicts most, and no more labels than can be told apart."""
    summary = run.summary
    measured = summary[(summary["scenario"] == "stream") & summary["status"].isin(["ok", "wrong"])]
    ordered = measured.sort_values("objects_per_s", ascending=False)
    return ordered.drop_duplicates("label").head(MOST_LINES).sort_index()


def _line(drift: Any, kind: str) -> list[tuple[float, float]]:
    """Return places and values where both are numbers."""
    if not isinstance(drift, dict) or not isinstance(drift.get("frame"), list) or not isinstance(drift.get(kind), list):
        return []
    pairs = [(finite(place), finite(value)) for place, value in zip(drift["frame"], drift[kind], strict=False)]
    return [(place, value) for place, value in pairs if place is not None and value is not None]


def draw_losses(run: Run, found: Mapping[str, Loss]) -> Drawing | None:
    """Draw what is left of J&F, or of agreement, against the pairs of each second; None without approximations."""
    summary = run.summary
    measured = summary[
        (summary["scenario"] == "stream") & (summary["status"] == "ok") & positive(summary["objects_per_s"])
    ]
    if not found or len(measured) < 2:
        return None
    quality = "jf" if measured["jf"].notna().all() else "iou_mean"
    measured = measured[measured[quality].notna()]
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    panel = figure.subplots()
    styles, tooltips = styles_of(summary), list[tuple[str, str]]()
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("{x:g}")
    ordered = measured.sort_values(["objects_per_s", quality], ascending=[False, False])
    front = ordered[ordered[quality] > ordered[quality].cummax().shift(fill_value=-1)]
    panel.step(front["objects_per_s"], front[quality], where="post", color="0.75", linewidth=1.2, zorder=0)
    for _, row in measured.iterrows():
        style, gid = styles[row["label"]], f"mark{len(tooltips)}"
        filled = str(row["point"]) not in found
        panel.plot(
            row["objects_per_s"],
            row[quality],
            marker=style.marker,
            color=style.colour,
            linestyle="",
            markersize=7,
            gid=gid,
            markerfacecolor=style.colour if filled else "white",
            label=plain(str(row["label"])),
        )
        loss = found.get(str(row["point"]))
        lost = "" if loss is None else f", loses {in_points(loss)}"
        tooltips.append(
            (
                gid,
                f"{row['label']}, {row['batch']:.0f} at once: {row['objects_per_s']:.1f} pairs/s, "
                f"{quality} {row[quality]:.4f}{lost}",
            )
        )
    panel.set_xlabel("(frame, object) pairs per second")
    panel.set_ylabel("J&F" if quality == "jf" else "mean IoU with the session")
    low, high = panel.get_xlim()
    panel.set_xlim(low / 1.1, high * 1.1)
    tidy(panel)
    legend(figure, [panel])
    return Drawing(
        name="stream-losses",
        alt="quality against speed of streams, by strategy",
        figure=figure,
        caption="Up and to the right is better. The grey line joins the points that no other beats in both; hollow "
        "ones are approximations.",
        tooltips=tuple(tooltips),
    )
