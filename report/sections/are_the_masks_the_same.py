"""Whether the masks are the same: numbers, known reasons for differences, and pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.masks.rule import ALIKE
from report.reading.mask_status import masks_in_own_dtype, masks_of
from report.reading.run import Run, dig, finite
from report.render.document import Block, Cell, Paragraph, Section, number, words
from report.sections.mask_pictures import draw_masks
from report.sections.points_table import PointColumn, column, oracles, points_table, text_column
from report.sections.where_they_agree_least import printable, worst_table

WHY_DIFFERENT = {
    ("propagate", ""): "lets every target remember the predictions before it, as the session does out of the box: its "
    "masks depend on the targets before and on their order, and those of `sequential` do not.",
    ("extended_session", "raw"): "keeps targets in slots at other distances in time from the references than "
    "`sequential` does; object pointers encode that distance, so masks change with the slot.",
}
"""Why masks differ from those of `sequential`, by strategy and variant."""


def agreement_section(run: Run) -> Section | None:
    table = points_table(
        run,
        [
            PointColumn(title="masks", cell=lambda row: words(masks_in_own_dtype(run, row)), words=True),
            text_column("fp32_masks"),
            column("iou_mean"),
            column("iou_p1"),
            column("iou_min"),
            _of_agreement(run, "share_at_99", f"IoU >= {ALIKE}", "{:.1%}"),
            column("max_abs_dlogit"),
            column("max_abs_dscore"),
            column("max_abs_diou"),
            column("gate_flips"),
            column("pick_flips"),
            column("checked_calls"),
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


def _of_agreement(run: Run, name: str, title: str, form: str) -> PointColumn:
    return PointColumn(title=title, cell=lambda row: number(finite(run.of(row, "details", "agreement", name)), form))


def _worst_object(run: Run) -> PointColumn:
    """Return the column that names the object with the lowest mean IoU, by its group and id."""

    def cell(row: pd.Series) -> Cell:
        objects = run.of(row, "details", "agreement", "per_object")
        named = objects.items() if isinstance(objects, dict) else ()
        means = {name: finite(dig(one, "iou_mean")) for name, one in named}
        known = {name: mean for name, mean in means.items() if mean is not None and mean < 1}
        return words(printable(min(known, key=lambda name: known[name]))) if known else words(None)

    return PointColumn(title="least alike", cell=cell, words=True)


def _about(run: Run) -> str:
    summary = run.summary
    sentences = []
    if summary["iou_min"].notna().any():
        sentences.append(
            f"Each point's masks are compared with those of {oracles(run)} on the same targets. `masks` are the same "
            "where they pass the harness's test of an exact strategy, float noise allowed; flips count where 'is the "
            "object in the frame' and 'which of three masks is best' came out differently."
        )
    if summary["fp32_masks"].notna().any():
        sentences.append(
            "`fp32_masks` are those of a few targets that the same strategy predicted in fp32, where a mistake can't "
            "hide behind noise."
        )
    if summary["checked_calls"].notna().any():
        sentences.append("A mistake that spoils 3 in `checked_calls` calls shows with a probability of 95%.")
    sentences += [_rarest_fault(run), _share_of_limits(run)]
    floor = _noise_floor(run)
    if floor:
        sentences.append(floor)
    if summary["jf"].notna().any():
        sentences.append("`jf` is against the ground truth.")
    return " ".join(filter(None, sentences))


def _rarest_fault(run: Run) -> str:
    """Say from which share of spoilt calls on a mistake shows in each point, however few calls were compared."""
    found = [share for share in _numbers(run.stored("details"), "rarest_fault") if 0 < share <= 1]
    return f"In every point one that spoils {max(found):.1%} of calls or more does." if found else ""


def _share_of_limits(run: Run) -> str:
    """Say how much of a limit points used whose masks are the same."""
    same = [
        finite(run.of(row, "details", "share_of_limits")) for row in run.rows.values() if masks_of(run, row) == "same"
    ]
    used = [share for share in same if share is not None]
    return f"Of the limits for noise, points whose masks are the same used at most {max(used):.0%}." if used else ""


def _noise_floor(run: Run) -> str:
    """Describe how far `sequential` is from itself, by the largest differences of any point."""
    found = run.stored("details", "noise_floor")
    logits = _numbers(found, "fine", "logits", "largest") or _numbers(found, "largest_dlogit")  # Older runs have this.
    ious = _numbers(found, "iou")
    flips = [sum(pair) for pair in zip(_numbers(found, "gate_flips"), _numbers(found, "pick_flips"), strict=False)]
    if not (logits and ious and flips):
        return ""
    return (
        "The noise floor, `sequential` against itself with inputs off by rounding: logits up to "
        f"{max(logits):.1e} of their scale apart, a mean IoU of {min(ious):.4f}, {max(flips):.0f} flips."
    )


def _numbers(found: list[Any], *keys: str) -> list[float]:
    return [value for value in (finite(dig(one, *keys)) for one in found) if value is not None]


def _reasons(summary: pd.DataFrame) -> list[str]:
    """Return a sentence for each strategy of the run whose masks are known to differ."""
    finished = summary[summary["status"].isin(["ok", "wrong"])]
    present = {
        (row["strategy"], row["variant"] or ""): row["family"] for _, row in finished.fillna({"variant": ""}).iterrows()
    }
    return [f"`{present[kind]}` {why}" for kind, why in WHY_DIFFERENT.items() if kind in present]
