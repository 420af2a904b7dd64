"""How far a strategy's masks agree with the baseline strategy's, one batch of targets at a time.

Masks are compared at the model's low resolution: logits above 0 are object. A "pair" is one object in one target.

Reduced precision can flip two discontinuous choices, the object-score gate and the best of the decoder's candidate
masks; both are counted apart. A flipped gate moves every logit of its pair by about a thousand, and two closed gates
agree at -1024 whatever was computed before, so logit differences are taken over pairs whose gate is open on both
sides. A flipped pick puts another candidate's mask in place. The absolute difference and the IoUs say so; but noise
and mistakes can be told apart only in pairs that *choose alike*, gate and pick, so what is judged (`typical_dlogit`,
`relative_dlogit`, `iou_alike`) is of those, and a flip is judged by how near a tie the expected choice was.

Anything that is not finite agrees with nothing, not even with itself. Such a pair has IoU 0 and an infinite logit
difference, and a score that is not finite counts as a gate flip. This holds for either side, because a baseline
that overflowed can vouch for nobody.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from harness.masks.rule import ALIKE, Agreement, ObjectAgreement, WorstTarget
from strategies.vocabulary import Predictions

MOST_WORST = 10
"""So many targets, at most, are in ``Agreement.worst``."""


class AgreementMeter:
    """Adds up batches of any number of groups; keeps a few numbers per pair and nothing of the masks."""

    def __init__(self, *, gate_score: float = 0.0, pick_margin: float = 0.0) -> None:
        """gate_score, pick_margin: how far from a tie the expected choice of an excused flip may be."""
        self._excusing = gate_score, pick_margin
        self._ious: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._object_ids: dict[str, tuple[int, ...]] = {}
        self._alike_ious: list[npt.NDArray[np.float64]] = []
        self._alike_dlogits: list[npt.NDArray[np.float32]] = []
        self._max_abs_dlogit = 0.0
        self._scale = 0.0
        self._max_abs_dscore = 0.0
        self._max_abs_diou = 0.0
        self._gate_flips: list[npt.NDArray[np.float32]] = []
        self._pick_flips: list[npt.NDArray[np.float32]] = []

    def update(self, group: str, expected: Predictions, actual: Predictions) -> npt.NDArray[np.float64]:
        """Compares two predictions of the same targets, ``[T, O, H, W]``; ``expected`` is the baseline strategy's.

        Returns the IoU of every pair, ``[T, O]``. Works on the device of ``expected``. ValueError: object ids (their
        order counts) or shapes that differ, between the two or from the group's earlier batches.
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
        ious = iou.cpu().numpy()
        self._ious.setdefault(group, []).append(ious)
        gate_flipped = (expected_open != actual_open) | ~finite_scores
        pick_flipped = expected.picks != actual.picks.to(device)
        self._gate_flips.append(_finite(expected_scores.abs())[gate_flipped].cpu().numpy())
        self._pick_flips.append(_finite(expected.pick_margins)[pick_flipped].cpu().numpy())
        self._max_abs_dscore = max(self._max_abs_dscore, _largest(_finite((expected_scores - actual_scores).abs())))
        self._max_abs_diou = max(self._max_abs_diou, _largest(_finite((expected.ious - actual.ious.to(device)).abs())))

        dlogit = _peak(expected_logits - actual_logits).where(finite, math.inf)
        both_open = (expected_open & actual_open) | ~finite
        alike = (~gate_flipped & ~pick_flipped) | ~finite
        self._max_abs_dlogit = max(self._max_abs_dlogit, _largest(dlogit[both_open]))
        self._alike_dlogits.append(dlogit[both_open & alike].cpu().numpy())
        self._alike_ious.append(iou[alike].cpu().numpy())
        self._scale = max(self._scale, _largest(expected_peak[both_open & alike & finite]))
        return ious

    def result(self) -> Agreement | None:
        """None where no target was compared, so that there is nothing to agree on."""
        groups = {group: np.concatenate(batches) for group, batches in self._ious.items()}
        targets = sum(len(ious) for ious in groups.values())
        if targets == 0:
            return None
        everything = np.concatenate([ious.ravel() for ious in groups.values()])
        overall = _summary(everything)
        dlogits, alike = np.concatenate(self._alike_dlogits), np.concatenate(self._alike_ious)
        gates, picks = np.concatenate(self._gate_flips), np.concatenate(self._pick_flips)
        gate_score, pick_margin = self._excusing
        return Agreement(
            iou_mean=overall.iou_mean,
            iou_p1=overall.iou_p1,
            iou_min=overall.iou_min,
            share_at_99=float((everything >= ALIKE).mean()),
            max_abs_dlogit=self._max_abs_dlogit,
            relative_dlogit=_ratio(float(dlogits.max(initial=0)), self._scale),
            typical_dlogit=_ratio(float(np.median(dlogits)) if len(dlogits) else 0.0, self._scale),
            iou_alike=float(alike.mean()) if len(alike) else 1.0,
            max_abs_dscore=self._max_abs_dscore,
            max_abs_diou=self._max_abs_diou,
            gate_flips=len(gates),
            pick_flips=len(picks),
            excused_flips=int((gates <= gate_score).sum() + (picks <= pick_margin).sum()),
            gate_flip_score=float(gates.max(initial=0)),
            pick_flip_margin=float(picks.max(initial=0)),
            targets=targets,
            per_object={
                f"{group}/{identity}": _summary(ious[:, at])
                for group, ious in groups.items()
                for at, identity in enumerate(self._object_ids[group])
            },
            worst=_worst(groups, self._object_ids),
        )


def _check(object_ids: tuple[int, ...], expected: Predictions, actual: Predictions) -> None:
    for name, side in (("expected", expected), ("actual", actual)):
        if side.object_ids != object_ids:
            raise ValueError(f"{name} predictions are of objects {side.object_ids}, not {object_ids}")
        logits, scores, ious = side.logits.shape, side.object_scores.shape, side.ious.shape
        pairs = logits[:2]
        if len(logits) != 4 or pairs[1] != len(object_ids) or not pairs == scores == ious[:2]:
            raise ValueError(
                f"{name} predictions do not fit {len(object_ids)} objects: logits {tuple(logits)}, "
                f"object scores {tuple(scores)}, predicted IoUs {tuple(ious)}"
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


def _finite(values: Tensor) -> Tensor:
    """NaN as infinity, so that it is larger than anything."""
    return values.nan_to_num(nan=math.inf, posinf=math.inf)


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


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


def _worst(
    groups: dict[str, npt.NDArray[np.float64]], object_ids: dict[str, tuple[int, ...]]
) -> tuple[WorstTarget, ...]:
    targets = [
        WorstTarget(group=group, target=target, object_id=object_ids[group][at], iou=float(ious[target, at]))
        for group, ious in groups.items()
        for target, at in enumerate(ious.argmin(axis=1))
    ]
    return tuple(sorted(targets, key=lambda target: target.iou)[:MOST_WORST])
