"""How far a point's masks are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.column import measured
from harness.row.speed import SpeedColumns

Masks = Literal["same", "differ"]


@dataclass(frozen=True, kw_only=True)
class MaskColumns(SpeedColumns):
    """The columns up to those of masks."""

    fp32_masks: Masks | None = measured(
        "A few targets were predicted in fp32, too, by the same strategy with the same options: the masks count as "
        "those of `sequential` in fp32 (`same`) or do not (`differ`, which makes a point `wrong`). The cell is empty "
        "for points in fp32, and where the strategy can't run in fp32 on this machine."
    )
    masks: Masks | None = measured(
        "The masks count as those of `sequential` on the same targets (`same`) or they do not (`differ`); the "
        "rule is that for exact strategies, which allows for float noise, whichever strategy it is."
    )
    iou_mean: float | None = measured(
        "The masks have this mean IoU, over all pairs, with those of `sequential` on the same targets.",
        unit="0 to 1",
        format=".4f",
        gate="difference",
    )
    iou_p1: float | None = measured("This is the first percentile of the same IoU.", unit="0 to 1", format=".4f")
    iou_min: float | None = measured(
        "The worst pair has this IoU.", unit="0 to 1", format=".4f", shown="always", gate="difference"
    )
    max_abs_dlogit: float | None = measured(
        "The logits of masks differ from those of `sequential` by no more than this, over pairs in which both "
        "sides see the object.",
        unit="logits",
        format=".1e",
    )
    max_abs_dscore: float | None = measured(
        "Object scores differ from those of `sequential` by no more than this.", unit="logits", format=".1e"
    )
    max_abs_diou: float | None = measured(
        "The predicted IoUs of candidate masks differ from those of `sequential` by no more than this.",
        unit="0 to 1",
        format=".1e",
    )
    gate_flips: int | None = measured(
        "The object-score gate came out differently in this many pairs; a point is `wrong` where noise makes fewer, "
        "or where a mask is not the one that belongs to its gate.",
        unit="pairs",
        format=".0f",
    )
    pick_flips: int | None = measured(
        "Another one of the candidate masks was the best in this many pairs; a point is `wrong` where noise makes "
        "fewer, or where a mask is not the candidate that was picked.",
        unit="pairs",
        format=".0f",
    )
    checked_calls: int | None = measured(
        "The masks of this many calls of the strategy were compared, timed ones included: a fault in 3 of so many "
        "calls shows with a probability of 95 %.",
        unit="calls",
        format=".0f",
    )
    j: float | None = measured(
        "The masks have this region similarity with the ground truth: the IoU, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    f: float | None = measured(
        "The masks have this boundary measure with the ground truth, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    jf: float | None = measured(
        "This is the mean of `j` and `f`.", unit="0 to 1", format=".3f", shown="always", gate="difference"
    )
