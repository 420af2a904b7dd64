"""All points in one table: how each ended, its speed, its memory, and whether its masks are those of `sequential`."""

from __future__ import annotations

import inspect
from statistics import median

import pandas as pd

from harness.stats.speedup import LEVEL
from report.reading.mask_status import masks_of
from report.reading.run import Run, finite
from report.render.document import Bullets, Paragraph, Section, words
from report.sections.points_table import (
    STAR,
    PointColumn,
    column,
    column_cell,
    memory_column,
    oracles,
    points_table,
    speedup_cell,
    starred,
    text_column,
)

ALIKE = 1.1
"""Rates of which the largest is at most so many times the smallest are given as one number, the median."""


def all_points_section(run: Run) -> Section | None:
    columns = [
        PointColumn(title="speedup", cell=speedup_cell),
        text_column("verdict"),
        PointColumn(title="masks", cell=lambda row: words(masks_of(run, row)), words=True),
        PointColumn(title="fps", cell=lambda row: column_cell(row, "fps", starred(row, "fps"))),
        column("objects_per_s"),
        column(memory_column(run.summary)),
        text_column("status"),
        column("iou_min"),
        column("jf"),
    ]
    notes = [_about_speedups(run), _about_stars(run), _about_masks(run), _about_variants(run)]
    return Section.of(
        "All points",
        Paragraph(text=_what_was_measured(run)),
        points_table(run, columns, every=True),
        *(Paragraph(text=note, quiet=True) for note in notes if note),
        _about_strategies(run),
    )


def _what_was_measured(run: Run) -> str:
    summary = run.summary
    counts = ", ".join(f"{count} {status}" for status, count in summary["status"].value_counts().items())
    sentences = [
        f"{len(summary):,} points ({counts}) of model {_all(summary, 'model')} on {_all(summary, 'data')} data, "
        f"{_all(summary, 'dtype')}, on {run.device}, the fastest first.",
    ]
    encode = summary["encode_fps"].dropna()
    if not encode.empty:
        sentences.append(
            f"The vision encoder's stage, shared by all strategies, took in {_rates(encode)} frames/s; `fps` is the "
            f"{_timed(summary)}."
        )
    if (network := _about_the_encoder(run)) is not None:
        sentences.append(network)
    return " ".join(sentences)


def _about_the_encoder(run: Run) -> str | None:
    """Describe the encoder without reading and storing, by the medians of the points; None for older runs."""
    fps, shares = [], []
    for row in run.rows.values():
        frames, seconds, share = (
            finite(run.of(row, "details", "encoder", name))
            for name in ("encoded_frames", "network_seconds", "matrix_share")
        )
        if frames is not None and seconds and share is not None:
            fps.append(frames / seconds)
            shares.append(share)
    if not shares:
        return None
    return (
        f"Without reading and storing, the encoder itself did {_rates(pd.Series(fps))} frames/s, at "
        f"{median(shares):.0%} of the matrix rate."
    )


def _timed(summary: pd.DataFrame) -> str:
    """Say what the speeds are of."""
    jobs = summary["scenario"] == "job"
    whole = "whole job, and `speedup` over a loop around the baseline strategy"
    if jobs.all():
        return whole
    return f"prediction stage alone, or with `scenario=job` the {whole}" if jobs.any() else "prediction stage alone"


def _rates(values: pd.Series) -> str:
    """Describe rates by one number where they are about the same, else by their range."""
    low, high = values.min(), values.max()
    return f"{low:.1f}-{high:.1f}" if high > ALIKE * low else f"{values.median():.1f}"


def _all(summary: pd.DataFrame, column: str) -> str:
    return " and ".join(map(str, summary[column].dropna().unique()))


def _about_strategies(run: Run) -> Bullets | None:
    """Describe strategies by the first lines of their modules' docstrings; returns None if none is of this package."""
    lines: dict[str, str] = {}
    for row in run.rows.values():
        made = run.strategy_class(row)
        about = inspect.getdoc(inspect.getmodule(made)) if made is not None else None
        first = (about or "").partition("\n")[0].partition(": ")[2]
        if first:
            lines.setdefault(row["strategy"], f"`{row['strategy']}`: {first}")
    return Bullets(items=tuple(lines.values()), quiet=True) if lines else None


def _about_speedups(run: Run) -> str:
    about_fps = "`fps` is targets per second"
    if run.summary["speedup"].isna().all():
        return f"{about_fps}."
    baselines = " or ".join(f"`{name}`" for name in run.summary["reference"].dropna().unique()) or "the baseline"
    return (
        f"{about_fps}, `speedup` how many times as fast as {baselines} in the same process, with its {LEVEL:.0%} "
        "interval. Rows are best compared by it: how fast the machine happens to be cancels in it, and does not in "
        "`fps`."
    )


def _about_stars(run: Run) -> str:
    if not any(starred(row, name) for row in run.rows.values() for name in ("fps", "speedup")):
        return ""
    return (
        f"A star (`{STAR}`) marks points that did not converge: `timing.max_seconds` were over before there were "
        "enough rounds, and an interval as narrow as `timing.width` asks."
    )


def _about_masks(run: Run) -> str:
    sentences = []
    if run.summary["iou_min"].notna().any():
        sentences.append(f"`masks` and `iou_min` compare with the masks of {oracles(run)} on the same targets.")
    if run.summary["jf"].notna().any():
        sentences.append("`jf` is against the ground truth.")
    return " ".join(sentences)


def _about_variants(run: Run) -> str:
    return "" if run.summary["variant"].isna().all() else "In parentheses: how a strategy's options are set."
