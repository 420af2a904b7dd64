"""Are the masks the same: numbers, what is known about those that are not, and pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.masks.rule import ALIKE
from report.reading.mask_status import masks_of
from report.reading.run import Run, dig, finite
from report.render.document import Block, Cell, Paragraph, Section, number, words
from report.sections.mask_pictures import draw_masks
from report.sections.points_table import Shown, column, points_table
from report.sections.worst_targets import printable, worst_table

WHY_DIFFERENT = {
    ("propagate", ""): "lets every target remember the predictions before it, as the session does out of the box: its "
    "masks depend on the targets before and on their order, and those of `sequential` do not.",
    ("extended_session", "raw"): "keeps targets in slots at other distances in time from the references than "
    "`sequential` does; object pointers encode that distance, so masks change with the slot.",
}
"""By strategy and variant."""


def agreement_section(run: Run) -> Section | None:
    table = points_table(
        run,
        [
            Shown(title="masks", cell=lambda row: words(masks_of(run, row)), words=True),
            column("iou_mean"),
            column("iou_p1"),
            column("iou_min"),
            _of_agreement(run, "share_at_99", f"IoU >= {ALIKE}", "{:.1%}"),
            column("max_abs_dlogit"),
            column("gate_flips"),
            column("pick_flips"),
            _worst_object(run),
            column("jf"),
        ],
    )
    blocks: list[Block | None] = [table]
    if table is not None:
        blocks.append(Paragraph(text=_about(run), quiet=True))
    blocks += [Paragraph(text=why) for why in _reasons(run.summary)]
    blocks += [worst_table(run), draw_masks(run)]
    return Section.of("Are the masks the same", *blocks)


def _of_agreement(run: Run, name: str, title: str, form: str) -> Shown:
    return Shown(title=title, cell=lambda row: number(finite(run.of(row, "details", "agreement", name)), form))


def _worst_object(run: Run) -> Shown:
    """Where masks disagree most: group and object id."""

    def cell(row: pd.Series) -> Cell:
        objects = run.of(row, "details", "agreement", "per_object")
        named = objects.items() if isinstance(objects, dict) else ()
        means = {name: finite(dig(one, "iou_mean")) for name, one in named}
        known = {name: mean for name, mean in means.items() if mean is not None and mean < 1}
        return words(printable(min(known, key=lambda name: known[name]))) if known else words(None)

    return Shown(title="least alike", cell=cell, words=True)


def _about(run: Run) -> str:
    summary = run.summary
    sentences = []
    if summary["iou_min"].notna().any():
        sentences.append(
            "Each point's masks are compared with those of `sequential` on the same targets. `masks` are the same "
            "where they pass the harness's test of an exact strategy, float noise allowed; flips count where 'is the "
            "object in the frame' and 'which of three masks is best' came out differently."
        )
    floor = _noise_floor(run)
    if floor:
        sentences.append(floor)
    if summary["jf"].notna().any():
        sentences.append("`jf` is against the ground truth.")
    return " ".join(sentences)


def _noise_floor(run: Run) -> str:
    """How far `sequential` is from itself, the most that any point saw."""
    found = run.stored("details", "noise_floor")
    logits, ious = (_numbers(found, name) for name in ("largest_dlogit", "iou"))
    flips = [sum(pair) for pair in zip(_numbers(found, "gate_flips"), _numbers(found, "pick_flips"), strict=False)]
    if not (logits and ious and flips):
        return ""
    return (
        "The noise floor, `sequential` against itself with inputs off by rounding: logits up to "
        f"{max(logits):.1e} of their scale apart, a mean IoU of {min(ious):.4f}, {max(flips):.0f} flips."
    )


def _numbers(found: list[Any], name: str) -> list[float]:
    return [value for value in (finite(dig(one, name)) for one in found) if value is not None]


def _reasons(summary: pd.DataFrame) -> list[str]:
    """A sentence for each strategy of the run that is known to differ."""
    finished = summary[summary["status"].isin(["ok", "wrong"])]
    present = {
        (row["strategy"], row["variant"] or ""): row["family"] for _, row in finished.fillna({"variant": ""}).iterrows()
    }
    return [f"`{present[kind]}` {why}" for kind, why in WHY_DIFFERENT.items() if kind in present]
