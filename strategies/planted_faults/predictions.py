"""Faults of predictions: masks, scores, predicted IoUs, and the objects that they belong to."""

from __future__ import annotations

from dataclasses import replace

import torch

from strategies.components.mask_decoder import NO_OBJECT_LOGIT
from strategies.direct import Direct
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, VisionFeatures


class _OtherOutput(Direct):
    """`direct` whose predictions are spoiled on their way out."""

    def _predict(self, targets: VisionFeatures) -> Predictions:
        return self._spoil(super()._predict(targets))

    def _spoil(self, right: Predictions) -> Predictions:
        raise NotImplementedError


class FirstTargetForAll(_OtherOutput):
    """Every target of a batch has the first one's mask (DESIGN section 3, trap 2)."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=right.logits[:1].expand_as(right.logits))


class LogitsScaled(_OtherOutput):
    """Logits are larger by half a percent."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=torch.where(right.logits == NO_OBJECT_LOGIT, right.logits, right.logits * 1.005))


class LogitsShifted(_OtherOutput):
    """Logits are higher by 0.05."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=torch.where(right.logits == NO_OBJECT_LOGIT, right.logits, right.logits + 0.05))


class MasksMoved(_OtherOutput):
    """Masks lie one pixel to the right."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=right.logits.roll(1, dims=3))


class ScoresHalved(_OtherOutput):
    """Object scores are half as large."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, object_scores=right.object_scores / 2)


class ScoresSigned(_OtherOutput):
    """Object scores say yes or no only."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, object_scores=torch.where(right.object_scores > 0, 1.0, -1.0))


class ScoresRolled(_OtherOutput):
    """Object scores are those of the next target where the gates are alike."""

    def _spoil(self, right: Predictions) -> Predictions:
        rolled = right.object_scores.roll(1, dims=0)
        same = (rolled > 0) == (right.object_scores > 0)
        return replace(right, object_scores=torch.where(same, rolled, right.object_scores))


class IousShifted(_OtherOutput):
    """Predicted IoUs are higher by 0.01."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, ious=right.ious + 0.01)


class ClosedGatesFilled(_OtherOutput):
    """Absent objects get a full mask."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=right.logits.masked_fill(right.logits == NO_OBJECT_LOGIT, 5.0))


class ClosedGatesFaint(_OtherOutput):
    """The logits of absent objects are -0.001, which is as empty, instead of -1024."""

    def _spoil(self, right: Predictions) -> Predictions:
        return replace(right, logits=right.logits.masked_fill(right.logits == NO_OBJECT_LOGIT, -0.001))


class SecondBest(_OtherOutput):
    """In the nearest tie of each batch the other candidate is picked, but the mask is noise."""

    def _spoil(self, right: Predictions) -> Predictions:
        logits, ious = right.logits.clone(), right.ious.clone()
        margins = right.pick_margins.masked_fill(right.object_scores <= 0, torch.inf)
        target, index = divmod(int(margins.argmin()), margins.shape[1])
        best, second = ious[target, index].topk(2).indices.tolist()
        ious[target, index, second] = ious[target, index, best] + 1e-4
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(logits.shape[2:], generator=generator).to(logits.device)
        logits[target, index] = noise * logits[target, index].std()
        return replace(right, logits=logits, ious=ious)


class GateForgotten(_OtherOutput):
    """The open gate that is nearest to a tie closes in each batch, but its mask stays."""

    def _spoil(self, right: Predictions) -> Predictions:
        scores = right.object_scores.clone()
        nearest = scores.where(scores > 0, torch.inf).argmin()
        scores.view(-1)[nearest] = -1e-4
        return replace(right, object_scores=scores)


class ObjectsSwapped(Direct):
    """Two objects change places in every sixth target."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._seen = 0

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        logits, scores, ious = right.logits.clone(), right.object_scores.clone(), right.ious.clone()
        for target in range(len(targets)):
            self._seen += 1
            if self._seen % 6 == 0:
                for values in (logits, scores, ious):
                    values[target, :2] = values[target, :2].flip(0)
        return replace(right, logits=logits, object_scores=scores, ious=ious)


class OrderReversed(_OtherOutput):
    """Objects come in reverse order, with their ids."""

    def _spoil(self, right: Predictions) -> Predictions:
        return Predictions(
            logits=right.logits.flip(1),
            object_scores=right.object_scores.flip(1),
            ious=right.ious.flip(1),
            object_ids=right.object_ids[::-1],
        )


class ObjectMissing(_OtherOutput):
    """The last object is left out."""

    def _spoil(self, right: Predictions) -> Predictions:
        return Predictions(
            logits=right.logits[:, :-1],
            object_scores=right.object_scores[:, :-1],
            ious=right.ious[:, :-1],
            object_ids=right.object_ids[:-1],
        )


class NotANumber(_OtherOutput):
    """One pixel of a batch is no number."""

    def _spoil(self, right: Predictions) -> Predictions:
        logits = right.logits.clone()
        logits[-1, -1, 0, 0] = torch.nan
        return replace(right, logits=logits)
