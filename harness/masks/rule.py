"""Whether masks count as those of `sequential`: the numbers of their agreement, the limits above the noise, the rule.

The numbers are measured in `harness.masks.agreement` and `harness.masks.noise`. This file needs no torch, so that a
report can judge a run whose rows do not tell `masks` yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

ALIKE = 0.99
"""IoU from which two masks count as alike in ``Agreement.share_at_99``."""
ROUNDOFF = {"fp32": 2.0**-24, "tf32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of rounding to the nearest, by computing dtype. tf32 rounds the factors of fp32 products."""
STORED = ROUNDOFF["bf16"]
"""Of memory as the model stores it."""
LEAST_ROUNDOFFS = 4
"""Limits take floors of logits as no lower, as a sample without an open gate has none; 2 to 13 were measured."""
LEAST_IOU_LOSS = 0.01
"""Nor that of masks: one pixel in a hundred, which a few pairs may not show."""
TIMES = 4
"""Limits are so many times the floor: more than three times as far away as any exact strategy was seen."""
TIMES_TYPICAL = {"fp32": 128}
"""But that of the median pair, where noise is so fine that ties of stored memory stand out from it."""


@dataclass(frozen=True, kw_only=True)
class ObjectAgreement:
    """IoU of one object's masks over all targets: mean, first percentile (linear interpolation) and minimum."""

    iou_mean: float
    iou_p1: float
    iou_min: float


@dataclass(frozen=True, kw_only=True)
class WorstTarget:
    """A target by its object that agrees least. target: which of the group's, counted from 0 as they were compared."""

    group: str
    target: int
    object_id: int
    iou: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement over all pairs of ``targets`` targets; ``per_object`` is by "group/id".

    iou_mean, iou_p1, iou_min: over all pairs; two empty masks have IoU 1.
    share_at_99: share of pairs with IoU >= 0.99.
    max_abs_dlogit: largest logit difference over pairs whose gate is open on both sides, 0 where there are none.
    relative_dlogit: the largest over those of them that choose alike, divided by the largest absolute baseline logit
    of the same pairs; 0 / 0 is 0. typical_dlogit: as that, but the median pair's largest difference.
    iou_alike: mean over pairs that choose alike, 1 where there are none.
    max_abs_dscore, max_abs_diou: largest difference of an object score, and of a candidate's predicted IoU.
    gate_flips: pairs whose object score is above 0 on one side only. pick_flips: pairs whose best candidate differs,
    closed gates included. excused_flips: how many of both were as near a tie as the meter was told.
    gate_flip_score: the expected object score, absolute, of the flipped gate that was farthest from a tie;
    pick_flip_margin: by how much the expected best candidate was ahead in the farthest flipped pick. 0 without flips.
    worst: the few targets that agree least, the worst first, of equals the first. Results of before there was such a
    list have none.
    """

    iou_mean: float
    iou_p1: float
    iou_min: float
    share_at_99: float
    max_abs_dlogit: float
    relative_dlogit: float
    typical_dlogit: float
    iou_alike: float
    max_abs_dscore: float
    max_abs_diou: float
    gate_flips: int
    pick_flips: int
    excused_flips: int
    gate_flip_score: float
    pick_flip_margin: float
    targets: int
    per_object: dict[str, ObjectAgreement] = field(repr=False)
    worst: tuple[WorstTarget, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """How far `sequential` is from itself.

    typical_dlogit: of fine noise, the median over pairs, as `Agreement` has it; relative to the logits' scale.
    largest_dlogit: of either noise, the largest over pairs; relative. iou: of the noise that moves masks more, the mean
    over pairs that choose alike. object_score, predicted_iou: largest difference of either noise.
    gate_flips, pick_flips: of both. targets: how many were compared, over all draws.
    """

    dtype: str
    typical_dlogit: float
    largest_dlogit: float
    object_score: float
    predicted_iou: float
    iou: float
    gate_flips: int
    pick_flips: int
    targets: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an exact strategy may be from `sequential`.

    typical_dlogit, largest_dlogit, iou: of pairs that choose alike, as `Agreement` has them. gate_score, pick_margin:
    how far from a tie the expected choice of a flip may be: its object score from 0, its best candidate from the next.
    """

    typical_dlogit: float
    largest_dlogit: float
    iou: float
    gate_score: float
    pick_margin: float

    @classmethod
    def above(cls, floor: NoiseFloor) -> Limits:
        least = LEAST_ROUNDOFFS * ROUNDOFF[floor.dtype]
        return cls(
            typical_dlogit=TIMES_TYPICAL.get(floor.dtype, TIMES) * max(least, floor.typical_dlogit),
            largest_dlogit=TIMES * max(least, STORED, floor.largest_dlogit),
            iou=1 - TIMES * max(LEAST_IOU_LOSS, 1 - floor.iou),
            gate_score=TIMES * floor.object_score,
            pick_margin=TIMES * floor.predicted_iou,
        )


def disagreement(agreed: Agreement | None, limits: Limits | None) -> str | None:
    """Why an exact strategy's masks do not count as those of `sequential`; None where they do, or none were compared.

    What is not finite is beyond every limit, also where `sequential` itself is not.
    """
    if agreed is None or limits is None:
        return None
    share, most = agreed.typical_dlogit, limits.typical_dlogit
    if not share <= most or math.isinf(share):
        return f"logits of the median mask differ from sequential by {share:.1e} of their scale, more than {most:.1e}"
    share, most = agreed.relative_dlogit, limits.largest_dlogit
    if not share <= most or math.isinf(share):
        return f"logits of a mask differ from sequential by {share:.1e} of their scale, more than {most:.1e}"
    if agreed.excused_flips < agreed.gate_flips + agreed.pick_flips:
        unexcused = agreed.gate_flips + agreed.pick_flips - agreed.excused_flips
        return (
            f"{unexcused} gate or best-of-3 flips against sequential where noise makes none: at object scores up to "
            f"{agreed.gate_flip_score:.1e} (noise {limits.gate_score:.1e}), leads up to {agreed.pick_flip_margin:.1e} "
            f"(noise {limits.pick_margin:.1e})"
        )
    if not agreed.iou_alike >= limits.iou:
        return f"mean IoU with sequential is {agreed.iou_alike:.3f}, less than {limits.iou:.3f}"
    return None
