"""The report's verdict: which strategy to use on this device, and what it costs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.row import CATALOGUE, SETTING
from harness.stats.best import Speed, best
from report.reading.mask_status import masks_of
from report.reading.run import Run
from report.render.document import Block, Cell, Code, Column, Paragraph, Section, filled, words
from report.render.style import objects_title, positive
from report.sections.labels import labelled
from report.sections.points_table import column_cell, memory_column, oracles, ratio, speedup_cell, streamed, whole_job
from report.sections.stream_losses import MAX_LOSS
from report.sections.stream_verdict import approximations, stream_cost

if TYPE_CHECKING:
    from strategies.base import Strategy
    from strategies.streams.base import StreamStrategy

COMPARED_IN = (*SETTING, "objects")
"""Columns that a user's job decides and not the strategy; only points that agree in them are compared."""
UNKNOWN = "unknown"
MOST_NAMED = 2
"""At most so many of the points that may be as fast as the best are named; more are only counted."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best point of one setting.

    compared: whether its masks were compared with those of `sequential`. paired: whether it was chosen by its speed-up;
    else by its fps. clear: whether it is clearly faster than the baseline. similar: other points that may be as fast.
    firm: whether it and all of those were measured long enough.
    """

    row: pd.Series
    compared: bool
    paired: bool
    clear: bool
    similar: tuple[str, ...]
    firm: bool


def verdict_section(run: Run, *, max_loss: float = MAX_LOSS) -> Section:
    found = choices(run)
    if not found:
        nothing = (Paragraph(text=_nothing(run)), approximations(run, max_loss))
        return Section(title="Verdict", blocks=tuple(block for block in nothing if block is not None))
    main = found[-1]
    cost = stream_cost(run, main.row) if streamed(main.row) else _cost(run, main)
    sentences = [_which(run, main), cost]
    if not main.firm:
        sentences.insert(0, _doubt(run))
    blocks: list[Block | None] = [Paragraph(text=" ".join(sentences))]
    if main.row["command"]:
        blocks += [
            Paragraph(text=f"{_in_code(run, main)}This measures it again:"),
            Code(lines=(str(main.row["command"]),)),
        ]
    blocks.append(approximations(run, max_loss))
    if len(found) > 1:
        blocks.append(_each(run, found))
    return Section(title="Verdict", blocks=tuple(block for block in blocks if block is not None))


def choices(run: Run) -> list[Choice]:
    """Return the best point of each setting; none where all masks differ.

    The one with most objects comes last, after those in which the whole job was not timed.
    """
    finished = run.summary[(run.summary["status"] == "ok") & positive(run.summary["fps"])]
    finished = finished.assign(masks=[masks_of(run, row) or UNKNOWN for _, row in finished.iterrows()])
    right = finished[finished["masks"] != "differ"]
    varying = [name for name in COMPARED_IN if right[name].nunique() > 1]
    settings = [of_one for _, of_one in right.groupby(varying, dropna=False)] if varying else [right]
    found = [_best(of_one) for of_one in settings if len(of_one)]
    return sorted(found, key=lambda choice: (whole_job(choice.row), choice.row["objects"], choice.row["objects_per_s"]))


def _best(points: pd.DataFrame) -> Choice:
    """Choose by the rule that a job's choice follows too; it is in `harness.stats.best`."""
    rows = [row for _, row in points.iterrows()]
    known = positive(points["speedup_lo"]) & positive(points["speedup"]) & positive(points["speedup_hi"])
    found = best([_speed(row, paired=paired) for row, paired in zip(rows, known, strict=True)])
    row, similar = rows[found.at], [rows[at] for at in found.similar]
    decisive = points[points["point"].isin([one["point"] for one in (*similar, row)])]
    return Choice(
        row=row,
        compared=row["masks"] != UNKNOWN,
        paired=found.paired,
        clear=found.clear,
        similar=tuple({_named(one): None for one in similar if _named(one) != _named(row)}),
        firm=not (decisive["converged"] == False).any(),  # noqa: E712 - it compares each row's; None is not False.
    )


def _speed(row: pd.Series, *, paired: bool) -> Speed:
    lo, hi = (float(row["speedup_lo"]), float(row["speedup_hi"])) if paired else (None, None)
    baseline = row["reference"] if pd.notna(row["reference"]) else None
    return Speed(fps=float(row["fps"]), baseline=baseline, lo=lo, hi=hi, verdict=row["verdict"])


def _doubt(run: Run) -> str:
    """Say that the points do not suffice for a recommendation, before anything else is said of them."""
    converged = run.summary["converged"].dropna()
    early = len(converged) - int(converged.sum())
    return (
        f"{early} of {len(converged)} points were not measured long enough, so what follows is a first impression and "
        "no recommendation: more time for each (`timing.max_seconds`) or a quieter machine would give one."
    )


def _which(run: Run, choice: Choice) -> str:
    row = choice.row
    named = _named(row)
    objects = _objects(row)
    masks = "with the same masks" if choice.compared else "its masks were not compared"
    if choice.clear:
        others = f"; {_listed(choice.similar)} may be as fast" if choice.similar else ""
        begin = f"use {named}: {objects} it is" if choice.firm else f"{named} looks fastest: {objects} it came out"
        return f"On {run.device}, {begin} {_times(row)} as fast as {_opponent(row)}, {masks}{others}."
    if choice.paired and row["strategy"] == row["reference"]:
        advice = ": stay with it" if choice.firm else " so far"
        return f"On {run.device}, nothing is clearly faster than `{row['reference']}` {objects}{advice}."
    if choice.paired:
        return (
            f"On {run.device}, nothing is clearly faster than `{row['reference']}` {objects}: the best, {named}, is "
            f"{_times(row)} as fast, {masks}."
        )
    doubt = (
        "it was not timed in turns with a baseline (`paired=true`), so a machine that wavered may have chosen it"
        if pd.isna(row["speedup"])
        else "other points were timed against other baselines, so a machine that wavered may have chosen it"
    )
    what = "frames" if streamed(row) else "targets"
    return f"On {run.device}, {named} did the most {objects}, {row['fps']:.1f} {what}/s, {masks}; {doubt}."


def _opponent(row: pd.Series) -> str:
    baseline = f"`{row['reference']}`"
    return f"a loop around {baseline}, for the whole job" if whole_job(row) else baseline


def _cost(run: Run, choice: Choice) -> str:
    row = choice.row
    column = memory_column(run.summary)
    parts = []
    if pd.notna(row[column]):
        kind = "of the GPU's memory" if column.startswith("vram") else "of memory (process and model included)"
        parts.append(f"takes {row[column]:,.0f} MB {kind}")
    job = run.of(row, "config", "project_to")
    if pd.notna(row["projected_min"]) and isinstance(job, int):
        included = "from pictures on disk to masks on disk" if whole_job(row) else "the encoder included"
        parts.append(f"would be done with {job:,} targets in {row['projected_min']:.1f} min, {included}")
    return f"It {', and '.join(parts)}." if parts else "What it costs in memory was not measured."


def _in_code(run: Run, choice: Choice) -> str:
    """Say how a program makes this strategy: with the options it was measured with, except for the default ones."""
    target = run.of(choice.row, "config", "strategy", "_target_")
    if not isinstance(target, str):
        return ""
    options, defaults = run.of(choice.row, "config", "strategy"), _defaults(run.strategy_class(choice.row))
    given = [
        f"{name}={value!r}"
        for name, value in options.items()
        if not name.startswith("_") and (name not in defaults or defaults[name] != value)
    ]
    made = f"{target.rpartition('.')[2]}({', '.join(['model', *given])})"
    batch = choice.row["batch"]
    given_to = (
        f"stepped with the next frame of each of {_videos(batch)}"
        if streamed(choice.row)
        else f"given {batch:.0f} target{'s' if batch != 1 else ''} at once"
    )
    return f"In a program of your own that is `{made}`, {given_to}. "


def _defaults(made: type[Strategy | StreamStrategy] | None) -> dict[str, Any]:
    """Return the defaults of a constructor's parameters; none for a class that is not known."""
    parameters = {} if made is None else inspect.signature(made).parameters
    return {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}


def _each(run: Run, found: list[Choice]) -> Block | None:
    """Make the table of settings, with a column for each thing in which they differ."""
    column = memory_column(run.summary)
    rows = [choice.row for choice in found]
    varying = [name for name in COMPARED_IN if pd.Series([row[name] for row in rows]).nunique(dropna=False) > 1]
    return filled(
        [
            (Column(title="best", words=True), [words(row["family"]) for row in rows]),
            (labelled("speedup"), map(speedup_cell, rows)),
            (labelled("batch"), [column_cell(row, "batch") for row in rows]),
            *(_setting(name, rows) for name in varying),
            (Column(title="clearly faster", words=True), [words(_clearly(one)) for one in found]),
            (Column(title="perhaps as fast", words=True), [words(_listed(one.similar)) for one in found]),
            (labelled(column), [column_cell(row, column) for row in rows]),
        ],
        "For each setting",
    )


def _clearly(choice: Choice) -> str:
    if not choice.clear:
        return "no"
    return "yes" if choice.firm else "at first sight"


def _setting(name: str, rows: list[pd.Series]) -> tuple[Column, list[Cell]]:
    if CATALOGUE[name].format:
        return labelled(name), [column_cell(row, name) for row in rows]
    return labelled(name, words=True), [words(row[name]) for row in rows]


def _nothing(run: Run) -> str:
    counts = run.summary["status"].value_counts()
    ends = ", ".join(f"{count} {status}" for status, count in counts.items())
    if counts.get("ok", 0):
        return (
            f"Nothing can be recommended on {run.device}: no point had the masks of {oracles(run)} and a speed "
            f"({ends}). The table of agreement tells how far they are apart."
        )
    return (
        f"Nothing can be recommended on {run.device}: no point ended well ({ends}). What did not work, and why, is "
        "listed below."
    )


def _times(row: pd.Series) -> str:
    if pd.isna(row["speedup_lo"]) or pd.isna(row["speedup_hi"]):
        return f"{ratio(row['speedup'])} times"
    return f"{ratio(row['speedup'])} times (95% interval {ratio(row['speedup_lo'])}-{ratio(row['speedup_hi'])})"


def _objects(row: pd.Series) -> str:
    return "" if pd.isna(row["objects"]) else f"at {objects_title(row['objects'])}"


def _named(row: pd.Series) -> str:
    if streamed(row):
        return f"`{row['label']}` with {_videos(row['batch'])} at once"
    return f"`{row['label']}` with batch {row['batch']:.0f}"


def _videos(count: float) -> str:
    return f"{count:.0f} video{'s' if count != 1 else ''}"


def _listed(points: tuple[str, ...]) -> str:
    return " and ".join(points) if len(points) <= MOST_NAMED else f"{len(points)} other points"
