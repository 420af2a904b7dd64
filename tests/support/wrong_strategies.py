"""Strategies that give wrong masks, cheat, or are odd in another way that a measurement has to find or to bear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from strategies import Direct, Predictions, References, Sam2, VisionFeatures
from tests.support.models import pick

TARGETS = 3
"""Targets of each group on which `Tiring` is measured."""


class Lying(Direct):
    """Calls itself exact and gives the masks of the wrong objects."""

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        return replace(right, logits=right.logits.flip(1), object_scores=right.object_scores.flip(1))


class Approximate(Lying):
    exact = False


class Tiring(Lying):
    """Gives right masks until every target was predicted once, and wrong ones from then on."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._predicted = 0

    def _predict(self, targets: VisionFeatures) -> Predictions:
        self._predicted += len(targets)
        right = 2 * TARGETS + 2 * TARGETS  # two batches of the first group to warm up, then those of both
        return Direct._predict(self, targets) if self._predicted <= right else super()._predict(targets)


class Noting(Direct):
    """Notes what it has to do."""

    noted: ClassVar[list[str]]

    def _prepare(self, references: References) -> None:
        self.noted.append("prepare")
        super()._prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        self.noted.append("predict")
        return super()._predict(targets)


class KeepingByPlace(Direct):
    """A cheat that caches each output by the objects and the number of targets."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._cache: dict[object, Predictions] = {}

    def _predict(self, targets: VisionFeatures) -> Predictions:
        key = self._key(targets)
        if key not in self._cache:
            self._cache[key] = super()._predict(targets)
        return self._cache[key]

    def _key(self, targets: VisionFeatures) -> object:
        return self.object_ids, len(targets)


class KeepingByColour(KeepingByPlace):
    """A better cheat, which recognises a picture by its mean features, wherever they are."""

    def _key(self, targets: VisionFeatures) -> object:
        return tuple(round(float(value), 3) for value in targets.embedding.mean(dim=(1, 2, 3)))


class KeepingByContent(KeepingByPlace):
    """An honest cache, which recognises only the same features, so it is right; but they do not occur again."""

    kept = 0

    def _key(self, targets: VisionFeatures) -> object:
        key = targets.embedding.numpy().tobytes()
        KeepingByContent.kept += key in self._cache
        return key


class Lazy(Predictions):
    """Predictions that could put off their work until they are read."""


class PuttingOff(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        return Lazy(**vars(super()._predict(targets)))


class WrongInJobs(Lying):
    """Right until it has been prepared so often as it is before a job is timed, and wrong from then on."""

    RIGHT = 3
    """Preparations of a group before: to warm up, to be verified, to rehearse."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._prepared = 0

    def _prepare(self, references: References) -> None:
        self._prepared += 1
        super()._prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = self._prepared <= self.RIGHT
        return Direct._predict(self, targets) if right else super()._predict(targets)


class TwoBanksSwapped(Direct):
    def _prepare(self, references: References) -> None:
        order = [1, 0, *range(2, len(references.object_ids))]
        super()._prepare(replace(references, masks=references.masks[:, order]))


class LastTargetForgotten(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        last = len(targets) - 1
        return super()._predict(pick(targets, [*range(last), max(0, last - 1)]))


class FirstAnswerKept(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        self.kept = getattr(self, "kept", None) or super()._predict(targets)
        return self.kept


MISTAKES = (TwoBanksSwapped, LastTargetForgotten, FirstAnswerKept)
