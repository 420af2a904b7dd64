"""Faults that spoil some calls only, answer later calls by earlier ones, or change what the next call is given."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from strategies.direct import Direct
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures


class _Sometimes(Direct):
    """`direct` with mirrored masks in some calls, by their number."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._calls = 0

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        self._calls += 1
        return replace(right, logits=right.logits.flip(3)) if self._is_wrong(self._calls) else right

    def _is_wrong(self, call: int) -> bool:
        raise NotImplementedError


class EveryThirtiethCall(_Sometimes):
    """Masks are mirrored in every 30th call."""

    def _is_wrong(self, call: int) -> bool:
        return call % 30 == 0


class FromTheFiftiethCall(_Sometimes):
    """Masks are mirrored from the 50th call on."""

    def _is_wrong(self, call: int) -> bool:
        return call >= 50


class AnswersKept(Direct):
    """The first batch's masks of a group are the answer to each later batch of its size."""

    def _prepare(self, references: References) -> None:
        self._answers: dict[int, Predictions] = {}
        super()._prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        if len(targets) not in self._answers:
            self._answers[len(targets)] = super()._predict(targets)
        return self._answers[len(targets)]


class AnswersOverwritten(Direct):
    """The logits of an answer lie where those of the next answer will be."""

    _logits: Tensor | None = None

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        if self._logits is None or self._logits.shape != right.logits.shape:
            self._logits = torch.empty_like(right.logits)
        self._logits.copy_(right.logits)
        return replace(right, logits=self._logits)


class KnownByAddress(Direct):
    """Answers are kept by the place in memory of the targets' features, whatever is there now."""

    def _prepare(self, references: References) -> None:
        self._answers: dict[tuple[int, int], Predictions] = {}
        super()._prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        place = targets.embedding.data_ptr(), len(targets)
        if place not in self._answers:
            self._answers[place] = super()._predict(targets)
        return self._answers[place]


class LargeBatchesScaled(Direct):
    """Logits are larger by a thousandth in batches of three targets or more."""

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        scaled = torch.where(right.object_scores[..., None, None] > 0, right.logits * 1.001, right.logits)
        return replace(right, logits=scaled) if len(targets) > 2 else right


class FeaturesSpoiled(Direct):
    """The targets' features are changed after they were used."""

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        targets.embedding.mul_(0.5)
        return right


class ReferencesSpoiled(Direct):
    """The references' masks are emptied after they were used."""

    def _prepare(self, references: References) -> None:
        super()._prepare(references)
        references.masks.fill_(False)
