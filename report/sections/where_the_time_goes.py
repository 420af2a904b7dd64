"""Where the time goes: encoder, memory bank, prediction and its stages, set-up."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.reading.run import Run, dig, finite
from report.render.document import Drawing, Paragraph, Section, number
from report.render.style import plain, positive, tidy
from report.sections.points_table import PointColumn, column, points_table, whole_job
from strategies.components.stage_names import (
    MASK_DECODER,
    MEMORY_ATTENTION,
    MEMORY_BANK,
    MEMORY_ENCODER,
    VISION_ENCODER,
)

ENCODE, PREDICT, REST = "encode", "predict", "rest of predict"
INSIDE = {
    "references again": (VISION_ENCODER, MEMORY_BANK),
    "memory encoder": (MEMORY_ENCODER,),
    "memory attention": (MEMORY_ATTENTION,),
    "mask decoder": (MASK_DECODER,),
}
"""The parts of a prediction, each with the measured stages that belong to it."""
# These are Tol's muted colours, which no strategy has.
COLOURS = {
    **{ENCODE: "#CCCCCC", PREDICT: "#88CCEE", "references again": "#882255", "memory encoder": "#CC6677"},
    **{"memory attention": "#332288", "mask decoder": "#44AA99", REST: "#F0E2A0"},
}
PARTS = {"process": "process", "model": "model", "features": "features"}
"""Parts of the set-up: their names in points/*.json and the titles of their columns."""
MOST_BARS = 60


def stages_section(run: Run) -> Section | None:
    columns = [
        PointColumn(title="encode (ms)", cell=lambda row: number(milliseconds(row["encode_fps"]), "{:.2f}")),
        PointColumn(title="predict (ms)", cell=lambda row: number(predicting(row), "{:.2f}")),
        *(_inside_column(run, name) for name in (*INSIDE, REST)),
        column("bank_s"),
        column("setup_s"),
        *(_setup_part(run, name, title) for name, title in PARTS.items()),
    ]
    table = points_table(run, columns)
    if table is None:
        return None
    note = (
        "Milliseconds are those of a target. Encoding is the vision encoder's stage, from the first file read to the "
        "last feature on disk, shared by all strategies. The parts of a prediction are those of a batch that was "
        "watched separately, scaled to the speed measured; compiled code, CUDA graphs and threads can't be watched. "
        "`bank_s` is seconds to build a group's memory bank, once (for `rebuild` it is in every prediction); `setup_s` "
        "seconds to start the point's process and load everything, once. Neither is in the speeds."
    )
    return Section.of("Where the time goes", draw_stages(run), table, Paragraph(text=note, quiet=True))


def milliseconds(per_second: float) -> float | None:
    return 1000 / per_second if finite(per_second) and per_second > 0 else None


def predicting(row: pd.Series) -> float | None:
    """Return the milliseconds a target of the prediction stage; None where the whole job was timed."""
    return None if whole_job(row) else milliseconds(row["fps"])


def draw_stages(run: Run) -> Drawing | None:
    """Draw bars of milliseconds a target; returns None where no point has both stages, or too many for a page do."""
    summary = run.summary
    both = (
        (summary["scenario"] != "job")
        & positive(summary["fps"])
        & positive(summary["encode_fps"])
        & summary["status"].isin(["ok", "wrong"])
    )
    measured = (
        summary[both]
        .sort_values(["objects", "label", "batch", "repeat"])
        .drop_duplicates(["objects", "label", "batch"])
    )
    if measured.empty or len(measured) > MOST_BARS:
        return None
    figure = Figure(figsize=(8.5, 0.9 + 0.24 * len(measured)), layout="constrained")
    panel = figure.subplots()
    places = range(len(measured), 0, -1)
    tooltips: list[tuple[str, str]] = []
    for place, (_, row) in zip(places, measured.iterrows(), strict=True):
        gid = f"mark{len(tooltips)}"
        end = _draw_bar(panel, place, {ENCODE: 1000 / row["encode_fps"]} | inside(run, row))
        text = f"{1000 / row['encode_fps']:.1f} + {1000 / row['fps']:.1f}"
        panel.text(end, place, f" {text}", va="center", fontsize=8, gid=gid)
        tooltips.append((gid, f"{_which(row)}: {text} ms"))
    panel.set_yticks(list(places), [plain(_which(row)) for _, row in measured.iterrows()], fontsize=8)
    panel.set_ylim(0.4, len(measured) + 0.6)
    panel.margins(x=0.15)
    panel.set_xlabel("milliseconds a target: encode + predict")
    tidy(panel)
    panel.grid(visible=False, axis="y")
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    names = [name for name in COLOURS if name in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    return Drawing(
        name="stages",
        alt="milliseconds a target in the encoder and in prediction",
        figure=figure,
        tooltips=tuple(tooltips),
    )


def inside(run: Run, row: pd.Series) -> dict[str, float]:
    """Return the milliseconds a target in each part of its prediction, which add up to the whole prediction's.

    Where the parts are not known, the whole prediction is the only part.
    """
    whole = predicting(row)
    calls, predicted = run.of(row, "details", "stages", "calls"), _total(run.of(row, "details", "stages", "predict"))
    if whole is None:
        return {}
    if not calls or not predicted:
        return {PREDICT: whole}
    shares = {name: sum(_total(dig(calls, one)) for one in stages) / predicted for name, stages in INSIDE.items()}
    shares[REST] = max(0.0, 1 - sum(shares.values()))
    return {name: whole * share for name, share in shares.items() if share > 0}


def _inside_column(run: Run, name: str) -> PointColumn:
    return PointColumn(title=f"{name} (ms)", cell=lambda row: number(inside(run, row).get(name), "{:.2f}"))


def _total(seconds: object) -> float:
    """Add up positive seconds; returns 0 for what is no list of numbers."""
    listed = seconds if isinstance(seconds, list) else []
    return sum(value for value in map(finite, listed) if value is not None and value > 0)


def _draw_bar(panel: Axes, place: int, parts: dict[str, float]) -> float:
    """Draw a bar's parts; returns where the bar ends."""
    end = 0.0
    for name, length in parts.items():
        panel.barh(place, length, left=end, color=COLOURS[name], height=0.7, label=name, edgecolor="white")
        end += length
    return end


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", objects {row['objects']:.0f}"
    return f"{row['label']}, batch {row['batch']:.0f}{objects}"


def _setup_part(run: Run, name: str, title: str) -> PointColumn:
    return PointColumn(
        title=f"{title} (s)",
        cell=lambda row: number(finite(run.of(row, "details", "setup_seconds", name)), "{:.1f}"),
    )
