"""Where the time goes: encoder, memory bank, prediction and set-up."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from report.document import Drawing, Paragraph, Section, number
from report.points import Shown, column, points_table
from report.run import Run, finite
from report.style import plain, positive, tidy

STAGES = {"encode": ("#BBBBBB", "encode"), "predict": ("#0072B2", "predict")}
PARTS = {"process": "process", "model": "model", "features": "features"}
"""Of the set-up, as points/*.json name them."""
MOST_BARS = 40


def stages_section(run: Run) -> Section | None:
    shown = [
        Shown(title="encode (ms/target)", cell=lambda row: number(milliseconds(row["encode_fps"]), "{:.2f}")),
        Shown(title="predict (ms/target)", cell=lambda row: number(milliseconds(row["fps"]), "{:.2f}")),
        column("bank_s", "{:.3f}"),
        column("setup_s", "{:.1f}"),
        *(_setup_part(run, name, told) for name, told in PARTS.items()),
    ]
    table = points_table(run, shown)
    if table is None:
        return None
    note = (
        "Encoding is the vision encoder's stage, from the first file read to the last feature on disk, shared by all "
        "strategies. `bank_s` is seconds to build a group's memory bank, once (no stage of its own for `rebuild`, "
        "whose prediction includes it); `setup_s` seconds to start the point's process and load everything, once. "
        "Neither is in the speeds."
    )
    return Section.of("Where the time goes", stages(run), table, Paragraph(text=note, quiet=True))


def milliseconds(per_second: float) -> float | None:
    return 1000 / per_second if finite(per_second) and per_second > 0 else None


def stages(run: Run) -> Drawing | None:
    """Bars of milliseconds a target; None where no point has both stages, or more have than a page bears."""
    summary = run.summary
    both = positive(summary["fps"]) & positive(summary["encode_fps"]) & summary["status"].isin(["ok", "wrong"])
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
    encode, predict = (1000 / measured[name] for name in ("encode_fps", "fps"))
    for values, left, name in ((encode, 0.0, "encode"), (predict, encode, "predict")):
        colour, told = STAGES[name]
        panel.barh(places, values, left=left, color=colour, height=0.7, label=told)
    marks: list[tuple[str, str]] = []
    for place, (_, row), end in zip(places, measured.iterrows(), encode + predict, strict=True):
        gid = f"told{len(marks)}"
        told = f"{1000 / row['encode_fps']:.1f} + {1000 / row['fps']:.1f}"
        panel.text(end, place, f" {told}", va="center", fontsize=8, gid=gid)
        marks.append((gid, f"{_which(row)}: {told} ms"))
    panel.set_yticks(list(places), [plain(_which(row)) for _, row in measured.iterrows()], fontsize=8)
    panel.set_ylim(0.4, len(measured) + 0.6)
    panel.margins(x=0.15)
    panel.set_xlabel("milliseconds a target")
    tidy(panel)
    panel.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return Drawing(
        name="stages", alt="milliseconds a target in the encoder and in prediction", figure=figure, told=tuple(marks)
    )


def _which(row: pd.Series) -> str:
    objects = "" if pd.isna(row["objects"]) else f", objects {row['objects']:.0f}"
    return f"{row['label']}, batch {row['batch']:.0f}{objects}"


def _setup_part(run: Run, name: str, told: str) -> Shown:
    return Shown(
        title=f"{told} (s)",
        cell=lambda row: number(finite(run.of(row, "details", "setup_seconds", name)), "{:.1f}"),
    )
