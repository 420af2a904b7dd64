"""How far a strategy's masks agree with the reference strategy's, one batch of targets at a time.

Masks are compared at the model's low resolution: logits above 0 are object. A "pair" is one object in one target.

Reduced precision can flip two discontinuous choices, the object-score gate and the best of the decoder's candidate
masks; both are counted apart. A flipped gate moves every logit of its pair by about a thousand, and two closed gates
agree at -1024 whatever was computed before, so logit differences are taken over pairs whose gate is open on both
sides. A flipped pick stays in: it puts another candidate's mask in place, and the difference should say so.

Anything that is not finite agrees with nothing, not even with itself. Such a pair has IoU 0 and an infinite logit
difference, and a score that is not finite counts as a gate flip. This holds for either side, because a reference
that overflowed can vouch for nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from strategies.vocabulary import Predictions

ALIKE = 0.99
"""IoU from which two masks count as alike in ``Agreement.share_at_99``."""


@dataclass(frozen=True, kw_only=True)
class ObjectAgreement:
    """IoU of one object's masks over all targets: mean, first percentile (linear interpolation) and minimum."""

    iou_mean: float
    iou_p1: float
    iou_min: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement over all pairs of ``targets`` targets; ``per_object`` is by "group/id".

    iou_mean, iou_p1, iou_min: over all pairs; two empty masks have IoU 1.
    share_at_99: share of pairs with IoU >= 0.99.
    max_abs_dlogit: largest logit difference over pairs whose gate is open on both sides, 0 where there are none.
    relative_dlogit: that, divided by the largest absolute reference logit of the same pairs; 0 / 0 is 0.
    gate_flips: pairs whose object score is above 0 on one side only. pick_flips: pairs whose best candidate differs,
    closed gates included.
    """

    iou_mean: float
    iou_p1: float
    iou_min: float
    share_at_99: float
    max_abs_dlogit: float
    relative_dlogit: float
    gate_flips: int
    pick_flips: int
    targets: int
    per_object: dict[str, ObjectAgreement] = field(repr=False)


class AgreementMeter:
    """Adds up batches of any number of groups; keeps one IoU per pair and nothing of the masks."""

    def __init__(self) -> None:
        self._ious: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._object_ids: dict[str, tuple[int, ...]] = {}
        self._max_abs_dlogit = 0.0
        self._scale = 0.0
        self._gate_flips = 0
        self._pick_flips = 0

    def update(self, group: str, expected: Predictions, actual: Predictions) -> None:
        """Compares two predictions of the same targets, ``[T, O, H, W]``; ``expected`` is the reference strategy's.

        Works on the device of ``expected``. ValueError: object ids (their order counts) or shapes that differ, between
        the two or from the group's earlier batches.
        """
        _check(self._object_ids.setdefault(group, expected.object_ids), expected, actual)
        device = expected.logits.device
        expected_logits, actual_logits = expected.logits.float(), actual.logits.to(device).float()
        expected_scores, actual_scores = expected.object_scores.float(), actual.object_scores.to(device).float()

        # The largest of numbers that are not all finite is not finite either: infinity stays, NaN propagates.
        expected_peak, actual_peak = _peak(expected_logits), _peak(actual_logits)
        finite_scores = expected_scores.isfinite() & actual_scores.isfinite()
        finite = finite_scores & expected_peak.isfinite() & actual_peak.isfinite()
        expected_open, actual_open = expected_scores > 0, actual_scores > 0

        iou = _iou(expected_logits > 0, actual_logits > 0).where(finite, 0.0)
        self._ious.setdefault(group, []).append(iou.cpu().numpy())
        self._gate_flips += int(((expected_open != actual_open) | ~finite_scores).sum())
        self._pick_flips += int((expected.picks != actual.picks.to(device)).sum())

        both_open = expected_open & actual_open & finite
        dlogit = _largest(_peak(expected_logits - actual_logits)[both_open])
        self._max_abs_dlogit = max(self._max_abs_dlogit, dlogit if bool(finite.all()) else math.inf)
        self._scale = max(self._scale, _largest(expected_peak[both_open]))

    def result(self) -> Agreement | None:
        """None where no target was compared, so that there is nothing to agree on."""
        groups = {group: np.concatenate(batches) for group, batches in self._ious.items()}
        targets = sum(len(ious) for ious in groups.values())
        if targets == 0:
            return None
        everything = np.concatenate([ious.ravel() for ious in groups.values()])
        overall = _summary(everything)
        return Agreement(
            iou_mean=overall.iou_mean,
            iou_p1=overall.iou_p1,
            iou_min=overall.iou_min,
            share_at_99=float((everything >= ALIKE).mean()),
            max_abs_dlogit=self._max_abs_dlogit,
            relative_dlogit=_ratio(self._max_abs_dlogit, self._scale),
            gate_flips=self._gate_flips,
            pick_flips=self._pick_flips,
            targets=targets,
            per_object={
                f"{group}/{identity}": _summary(ious[:, at])
                for group, ious in groups.items()
                for at, identity in enumerate(self._object_ids[group])
            },
        )


def _check(object_ids: tuple[int, ...], expected: Predictions, actual: Predictions) -> None:
    for name, side in (("expected", expected), ("actual", actual)):
        if side.object_ids != object_ids:
            raise ValueError(f"{name} predictions are of objects {side.object_ids}, not {object_ids}")
        logits, scores, picks = side.logits.shape, side.object_scores.shape, side.picks.shape
        pairs = logits[:2]
        if len(logits) != 4 or pairs[1] != len(object_ids) or not pairs == scores == picks:
            raise ValueError(
                f"{name} predictions do not fit {len(object_ids)} objects: logits {tuple(logits)}, "
                f"object scores {tuple(scores)}, picks {tuple(picks)}"
            )
    if expected.logits.shape != actual.logits.shape:
        raise ValueError(f"logits {tuple(expected.logits.shape)} against {tuple(actual.logits.shape)}")


def _peak(logits: Tensor) -> Tensor:
    """Largest absolute value of each pair, ``[T, O]``."""
    return logits.abs().amax(dim=(2, 3))


def _iou(expected: Tensor, actual: Tensor) -> Tensor:
    intersection = (expected & actual).count_nonzero(dim=(2, 3)).double()
    union = (expected | actual).count_nonzero(dim=(2, 3)).double()
    return (intersection / union).where(union > 0, 1.0)


def _largest(values: Tensor) -> float:
    return float(values.max()) if len(values) else 0.0


def _ratio(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.inf


def _summary(ious: npt.NDArray[np.float64]) -> ObjectAgreement:
    return ObjectAgreement(
        iou_mean=float(ious.mean()),
        iou_p1=float(np.percentile(ious, 1)),
        iou_min=float(ious.min()),
    )
