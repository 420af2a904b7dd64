"""Label maps at a picture's size are those of all objects enlarged at once, to the bit, in less memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strategies import Predictions


def predictions_of(logits: Tensor, object_ids: tuple[int, ...]) -> Predictions:
    objects = len(object_ids)
    return Predictions(
        logits=logits[None],
        object_scores=torch.ones(1, objects),
        ious=torch.ones(1, objects, 3),
        object_ids=object_ids,
    )


def all_at_once(logits: Tensor, object_ids: tuple[int, ...], size: tuple[int, int]) -> Tensor:
    best, index = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0].max(dim=0)
    return torch.where(best > 0, torch.tensor(object_ids, dtype=torch.int32)[index], torch.zeros((), dtype=torch.int32))


sides = st.sampled_from([1, 2, 3, 8, 32, 64])


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    objects=st.integers(1, 7),
    low=st.tuples(sides, sides),
    size=st.tuples(st.integers(1, 600), st.integers(1, 900)),
    level=st.sampled_from([0.0, -2.0, 2.0]),
    ties=st.booleans(),
)
def test_every_bit_is_that_of_all_objects_at_once(
    seed: int, objects: int, low: tuple[int, int], size: tuple[int, int], level: float, ties: bool
) -> None:
    logits = torch.randn(objects, *low, generator=torch.Generator().manual_seed(seed)) + level
    if ties:
        logits = logits.round()
    logits[seed % objects] = -1024  # as where an object's gate is closed
    ids = tuple(range(250, 250 - objects, -1))
    expected = all_at_once(logits, ids, size)
    predictions = predictions_of(logits, ids)
    whole, small = predictions.label_map(0, size=size), predictions.label_map(0, size=size, dtype=torch.uint8)
    assert (whole.dtype, small.dtype) == (torch.int32, torch.uint8)
    assert torch.equal(whole, expected)
    assert torch.equal(small.int(), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_count_as_before(value: float) -> None:
    logits = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[1, 3, 3] = value
    expected = all_at_once(logits, (1, 2, 3, 4), (300, 500))
    assert torch.equal(predictions_of(logits, (1, 2, 3, 4)).label_map(0, size=(300, 500)), expected)
