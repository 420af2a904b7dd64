"""Down: mistakes fall off."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness.masks.rule import Limits
from strategies import Direct, ExtendedSession, Predictions, References, Sam2, VisionFeatures
from tests.support.ladder import (
    ABSENT_FROM_THE_FIRST,
    EVERYTHING_AT_ONCE,
    Reduced,
    all_present,
    assert_outside,
    assert_within,
    expected_of,
)
from tests.support.models import Pictures, every_family, pick

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("references", [1, 3])
def test_memory_that_is_not_rounded_falls_off(
    model: Sam2, pictures: Pictures, limits: Limits, monkeypatch: pytest.MonkeyPatch, references: int
) -> None:
    case = replace(EVERYTHING_AT_ONCE, present=all_present(references, 5))
    expected = expected_of(case, model, pictures)
    assert_within(limits, case.masks(Direct(model), pictures), expected)
    monkeypatch.setattr(Sam2, "spatial_memory", unrounded_memory)
    assert_outside(limits, case.masks(Direct(model), pictures), expected)


def unrounded_memory(model: Sam2, embedding: torch.Tensor, mask: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return `Sam2.spatial_memory` of objects that are visible, without its rounding to bf16."""
    assert visible.all()
    features, _ = model.network.memory_encoder(embedding, mask * 20.0 - 10.0)
    return features.flatten(2).transpose(1, 2)


@every_family
def test_positions_of_pointers_that_are_not_pinned_fall_off(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    case = replace(EVERYTHING_AT_ONCE, present=all_present(2, 3), object_ids=(1, 2, 3))
    raw = case.masks(ExtendedSession(model, positions="raw"), pictures)
    assert_outside(limits, raw, expected_of(case, model, pictures))


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
IN_BATCHES_OF_TWO = replace(ABSENT_FROM_THE_FIRST, targets=(5, 1, 0, 4), batch=2)


@every_family
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off(model: Sam2, pictures: Pictures, limits: Limits, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, model, pictures)
    assert_outside(limits, IN_BATCHES_OF_TWO.masks(mistake(model), pictures), expected)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off_in_reduced_precision(reduced: Reduced, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, reduced.model, reduced.pictures)
    assert_outside(reduced.limits, IN_BATCHES_OF_TWO.masks(mistake(reduced.model), reduced.pictures), expected)
