"""The table that answers the most: of every point how it ended, how fast, at what memory, with which masks."""

from __future__ import annotations

import inspect

from harness.stats.speedup import LEVEL
from report.reading.mask_status import masks_of
from report.reading.run import Run
from report.render.document import Bullets, Paragraph, Section, words
from report.sections.overview import measured
from report.sections.points_table import (
    STAR,
    Shown,
    column,
    column_cell,
    memory_column,
    points_table,
    speedup_cell,
    starred,
    text_column,
)


def all_points_section(run: Run) -> Section | None:
    shown = [
        text_column("status"),
        Shown(title="fps", cell=lambda row: column_cell(row, "fps", starred(row, "fps"))),
        Shown(title="speedup", cell=speedup_cell),
        text_column("verdict"),
        column("objects_per_s"),
        column(memory_column(run.summary)),
        Shown(title="masks", cell=lambda row: words(masks_of(run, row)), words=True),
        column("iou_min"),
        column("jf"),
    ]
    notes = [_about_speedups(run), _about_stars(run), _about_masks(run), _about_variants(run)]
    return Section.of(
        "All points",
        Paragraph(text=measured(run)),
        points_table(run, shown, every=True),
        *(Paragraph(text=note, quiet=True) for note in notes if note),
        _about_strategies(run),
    )


def _about_strategies(run: Run) -> Bullets | None:
    """A line for each, the first of its module's docstring; None where no strategy is of this package."""
    told: dict[str, str] = {}
    for _, row in run.summary.iterrows():
        made = run.strategy_class(row)
        about = inspect.getdoc(inspect.getmodule(made)) if made is not None else None
        first = (about or "").partition("\n")[0].partition(": ")[2]
        if first:
            told.setdefault(row["strategy"], f"`{row['strategy']}`: {first}")
    return Bullets(items=tuple(told.values()), quiet=True) if told else None


def _about_speedups(run: Run) -> str:
    told = "`fps` is targets per second"
    if run.summary["speedup"].isna().all():
        return f"{told}."
    references = " or ".join(f"`{name}`" for name in run.summary["reference"].dropna().unique()) or "the baseline"
    return (
        f"{told}, `speedup` how many times as fast as {references} in the same process, with its {LEVEL:.0%} interval. "
        "Rows are best compared by it: the machine's mood cancels in it, and does not in `fps`."
    )


def _about_stars(run: Run) -> str:
    if not any(starred(row, name) for _, row in run.summary.iterrows() for name in ("fps", "speedup")):
        return ""
    return (
        f"A star (`{STAR}`) marks points that did not converge: `timing.max_seconds` were over before there were "
        "enough rounds, and an interval as narrow as `timing.width` asks."
    )


def _about_masks(run: Run) -> str:
    sentences = []
    if run.summary["iou_min"].notna().any():
        sentences.append("`masks` and `iou_min` compare with the masks of `sequential` on the same targets.")
    if run.summary["jf"].notna().any():
        sentences.append("`jf` is against the ground truth.")
    return " ".join(sentences)


def _about_variants(run: Run) -> str:
    return "" if run.summary["variant"].isna().all() else "In parentheses: how a strategy's options are set."
