"""Down: mistakes fall off."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness.masks.rule import Limits
from strategies import Direct, ExtendedSession, Sam2
from tests.support.ladder import (
    EVERYTHING_AT_ONCE,
    IN_BATCHES_OF_TWO,
    all_present,
    assert_outside,
    assert_within,
    expected_of,
)
from tests.support.models import Pictures, every_family
from tests.support.wrong_strategies import MISTAKES

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


@every_family
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off(model: Sam2, pictures: Pictures, limits: Limits, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, model, pictures)
    assert_outside(limits, IN_BATCHES_OF_TWO.masks(mistake(model), pictures), expected)
