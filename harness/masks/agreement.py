"""The agreement of a strategy's masks with the expected ones, those of `sequential`, one batch of targets at a time.

Masks are compared at the model's low resolution: logits above 0 are object. A "pair" is one object in one target.

Reduced precision can flip two discontinuous choices, the object-score gate and the best of the decoder's candidate
masks. A flipped pair has another mask than the expected one, and rightly so: it must be compared with the mask that
belongs to its own choice. The expected predictions do not hold that one, so flipped pairs are kept until the oracle's
candidates settle them (`harness.measure.judge`). Scores and predicted IoUs are compared in all pairs, so a flip that is
far from a tie shows.

A closed gate leaves nothing to compare but emptiness, which is exact: every logit is -1024.

Anything that is not finite agrees with nothing, not even with itself. Such a pair has IoU 0 and an infinite logit
difference, and a score that is not finite counts as a gate flip. This holds for either side, because expected
masks that overflowed cannot show that any strategy is right.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.masks.differences import CallDifferences, Numbers, ObjectDifferences, differences_of
from harness.masks.rule import ALIKE, Agreement, Differences, ObjectAgreement, WorstTarget
from strategies.components.mask_decoder import NO_OBJECT_LOGIT
from strategies.vocabulary import Predictions, VisionFeatures

MOST_WORST = 10
"""The most targets that ``Agreement.worst`` lists."""
MOST_SETTLED = 64
"""At most so many flipped pairs are kept for the oracle, drawn from all."""

Target = Callable[[], VisionFeatures]
"""A function that returns the features of one target, ``[1, ...]``, for whoever has to predict it again."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A pair whose gate is open and whose mask belongs to another choice than the expected one.

    pick: the candidate that was taken. call, place: where the pair's numbers are kept.
    """

    group: str
    target: Target
    object_index: int
    pick: int
    logits: Tensor
    call: CallDifferences
    place: int

    def settle(self, candidates: Tensor) -> None:
        """Compare the mask with the oracle's candidate masks ``[O, K, H, W]`` of the target, before its gate."""
        wanted = candidates[self.object_index, self.pick].to(self.logits.device).float()
        difference, scale = (self.logits - wanted).abs().max(), wanted.abs().max()
        iou = mask_ious((wanted > 0)[None, None], (self.logits > 0)[None, None])
        self.call.logits[self.place, self.object_index] = float(_finite(_ratio(difference, scale)))
        self.call.mask_ious[self.place, self.object_index] = float(iou)


class AgreementMeter:
    """A meter that adds up batches of any number of groups; it keeps a few numbers of each pair, and a few masks."""

    def __init__(self) -> None:
        self._object_ids: dict[str, tuple[int, ...]] = {}
        self._calls: dict[str, list[CallDifferences]] = {}
        self._ious: dict[str, list[Numbers]] = {}
        self._max_abs_dlogit = 0.0
        self._gate_flips = self._pick_flips = self._not_empty = self._unequal = 0
        self._misfit: str | None = None
        self._random = random.Random(0)
        self.flips: list[Flip] = []

    def update(
        self,
        group: str,
        expected: Predictions,
        actual: Predictions,
        *,
        target: Callable[[int], VisionFeatures] | None = None,
    ) -> Numbers | None:
        """Compare two predictions of the same targets, ``[T, O, H, W]``; ``expected`` is `sequential`'s.

        target: returns the features of one of them, by which flips are settled; without it, they stay unsettled.

        Returns the IoU of every pair, ``[T, O]``, computed on the device of ``expected``. Returns None, and notes a
        misfit, where object ids (their order counts) or shapes differ, between the two or from the group's earlier
        batches.
        """
        misfit = _misfit(self._object_ids.setdefault(group, expected.object_ids), expected, actual)
        if misfit is not None:
            self._misfit = self._misfit or misfit
            return None
        device = expected.logits.device
        expected_logits, actual_logits = expected.logits.float(), actual.logits.to(device).float()
        expected_scores, actual_scores = expected.object_scores.float(), actual.object_scores.to(device).float()
        expected_ious, actual_ious = expected.ious.float(), actual.ious.to(device).float()

        # The largest of numbers that are not all finite is not finite either: infinity stays, NaN propagates.
        expected_peak, actual_peak = _peak(expected_logits), _peak(actual_logits)
        finite_scores = expected_scores.isfinite() & actual_scores.isfinite()
        finite = finite_scores & expected_peak.isfinite() & actual_peak.isfinite()
        expected_open, actual_open = expected_scores > 0, actual_scores > 0
        gate_flipped = (expected_open != actual_open) | ~finite_scores
        actual_picks = actual_ious.argmax(dim=-1)
        pick_flipped = expected.picks != actual_picks
        both_open = (expected_open & actual_open) | ~finite

        iou = mask_ious(expected_logits > 0, actual_logits > 0).where(finite, 0.0)
        dlogit = _peak(expected_logits - actual_logits).where(finite, math.inf)
        alike = (both_open & ~gate_flipped & ~pick_flipped) | ~finite
        logits = _ratio(dlogit, expected_peak.where(finite, 1.0)).where(alike, math.nan)
        self._max_abs_dlogit = max(self._max_abs_dlogit, _largest(dlogit[both_open]))
        self._gate_flips += int(gate_flipped.sum())
        self._pick_flips += int(pick_flipped.sum())
        filled = (actual_logits != NO_OBJECT_LOGIT).flatten(2).any(dim=2)
        self._not_empty += int((filled & ~actual_open & finite).sum())

        call = CallDifferences(
            mask_ious=_numbers(iou.where(~(gate_flipped | pick_flipped) | ~finite, math.nan)),
            logits=_numbers(logits),
            scores=_numbers(_finite((expected_scores - actual_scores).abs())),
            predicted_ious=_numbers(_finite((expected_ious - actual_ious).abs()).amax(dim=-1)),
        )
        self._calls.setdefault(group, []).append(call)
        ious = _numbers(iou)
        self._ious.setdefault(group, []).append(ious)
        if target is not None:
            for place, index in (actual_open & (gate_flipped | pick_flipped) & finite).nonzero().tolist():
                flip = Flip(
                    group=group,
                    target=_one(target, place),
                    object_index=index,
                    pick=int(actual_picks[place, index]),
                    logits=actual_logits[place, index].clone(),
                    call=call,
                    place=place,
                )
                self._keep(flip)
        return ious

    def _keep(self, flip: Flip) -> None:
        """Keep the flip or drop it, so that each of all flips so far is kept with the same probability."""
        self._unequal += 1
        if len(self.flips) < MOST_SETTLED:
            self.flips.append(flip)
        elif (place := self._random.randrange(self._unequal)) < MOST_SETTLED:
            self.flips[place] = flip

    def differences(self, group: str, index: int) -> Differences:
        """Return the differences of one object of a group that was compared."""
        return differences_of([ObjectDifferences.of(self._calls[group], index)])

    @property
    def objects(self) -> list[tuple[str, int, str]]:
        """The objects that were compared: the group of each, its index there, and "group/id"."""
        return [
            (group, index, f"{group}/{identity}")
            for group in self._calls
            for index, identity in enumerate(self._object_ids[group])
        ]

    def result(self, *, excused: Collection[str] = ()) -> Agreement | None:
        """Return the agreement over all that was compared, or None where no target was.

        excused: objects, "group/id", whose differences are listed apart from the others'.
        """
        raw = {group: np.concatenate(batches) for group, batches in self._ious.items()}
        targets = sum(len(ious) for ious in raw.values())
        if targets == 0 and self._misfit is None:
            return None
        everything = np.concatenate([ious.ravel() for ious in raw.values()]) if targets else np.zeros(1)
        overall = _summary(everything)
        by_object = {name: ObjectDifferences.of(self._calls[group], index) for group, index, name in self.objects}
        judged = [one for name, one in by_object.items() if name not in excused]
        apart = [one for name, one in by_object.items() if name in excused]
        every = differences_of(list(by_object.values()))
        return Agreement(
            iou_mean=overall.iou_mean,
            iou_p1=overall.iou_p1,
            iou_min=overall.iou_min,
            compared_iou_min=min((one.least_mask_iou for one in by_object.values()), default=1.0),
            share_at_99=float((everything >= ALIKE).mean()),
            max_abs_dlogit=self._max_abs_dlogit,
            max_abs_dscore=every.scores.largest,
            max_abs_diou=every.ious.largest,
            differences=differences_of(judged),
            of_excused=differences_of(apart) if apart else None,
            excused=tuple(name for name in by_object if name in excused),
            gate_flips=self._gate_flips,
            pick_flips=self._pick_flips,
            not_empty=self._not_empty,
            misfit=self._misfit,
            calls=sum(map(len, self._calls.values())),
            pairs=sum(ious.size for ious in raw.values()),
            targets=targets,
            per_object={
                f"{group}/{identity}": _summary(ious[:, at])
                for group, ious in raw.items()
                for at, identity in enumerate(self._object_ids[group])
            },
            worst=_worst(raw, self._object_ids),
        )


def fitting(predictions: Predictions, targets: int, object_ids: tuple[int, ...]) -> str | None:
    """Say in what predictions are not those of so many targets and these objects; return None where they are."""
    if predictions.object_ids != object_ids:
        return f"they are of objects {list(predictions.object_ids)}, not of {list(object_ids)}"
    logits, scores, ious = predictions.logits.shape, predictions.object_scores.shape, predictions.ious.shape
    if len(logits) != 4 or len(ious) != 3 or not logits[:2] == scores == ious[:2] == (targets, len(object_ids)):
        return (
            f"logits {list(logits)}, object scores {list(scores)} and predicted IoUs {list(ious)} do not fit "
            f"{targets} targets and {len(object_ids)} objects"
        )
    return None


def _misfit(object_ids: tuple[int, ...], expected: Predictions, actual: Predictions) -> str | None:
    targets = len(expected)
    for side in (expected, actual):
        if (misfit := fitting(side, targets, object_ids)) is not None:
            return misfit
    if expected.logits.shape != actual.logits.shape or expected.ious.shape != actual.ious.shape:
        return (
            f"logits {list(actual.logits.shape)} and predicted IoUs {list(actual.ious.shape)} instead of "
            f"{list(expected.logits.shape)} and {list(expected.ious.shape)}"
        )
    return None


def _one(target: Callable[[int], VisionFeatures], place: int) -> Target:
    return lambda: target(place)


def _numbers(values: Tensor) -> Numbers:
    return values.double().cpu().numpy()


def _peak(logits: Tensor) -> Tensor:
    """Return the largest absolute value of each pair, ``[T, O]``."""
    return logits.abs().amax(dim=(2, 3))


def mask_ious(expected: Tensor, actual: Tensor) -> Tensor:
    """Return the IoU of each pair ``[T, O]`` of masks, bool ``[T, O, H, W]``; of two empty ones it is 1."""
    intersection = (expected & actual).count_nonzero(dim=(2, 3)).double()
    union = (expected | actual).count_nonzero(dim=(2, 3)).double()
    return (intersection / union).where(union > 0, 1.0)


def _finite(values: Tensor) -> Tensor:
    """Return the values with infinity for NaN, so that it is larger than any number."""
    return values.nan_to_num(nan=math.inf, posinf=math.inf)


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _ratio(difference: Tensor, scale: Tensor) -> Tensor:
    """Divide, with 0 for 0 / 0."""
    return torch.where(difference == 0, 0.0, difference / scale)


def _summary(ious: Numbers) -> ObjectAgreement:
    return ObjectAgreement(
        iou_mean=float(ious.mean()),
        iou_p1=float(np.percentile(ious, 1)),
        iou_min=float(ious.min()),
    )


def _worst(groups: dict[str, Numbers], object_ids: dict[str, tuple[int, ...]]) -> tuple[WorstTarget, ...]:
    targets = [
        WorstTarget(group=group, target=target, object_id=object_ids[group][at], iou=float(ious[target, at]))
        for group, ious in groups.items()
        for target, at in enumerate(ious.argmin(axis=1))
    ]
    return tuple(sorted(targets, key=lambda target: target.iou)[:MOST_WORST])
