"""Rung 2: in fp32, `direct` is within the noise floor of `sequential`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, note, settings

from harness.masks.rule import Limits
from strategies import Direct, ExtendedSession, Sam2, Sequential
from strategies.direct import BANKS
from tests.support.ladder import (
    ABSENT_FROM_ALL_BUT_ONE,
    ABSENT_FROM_THE_FIRST,
    EVERYTHING_AT_ONCE,
    NO_MASK_AT_ALL,
    Case,
    all_present,
    assert_outside,
    assert_same_bits,
    assert_within,
    cases,
    every_extreme,
    expected_of,
)
from tests.support.models import Pictures, copied, every_family, masks_of, of_whole_memories, spatial_memories

pytestmark = pytest.mark.slow


def test_the_limits_are_narrow_in_fp32(limits: Limits) -> None:
    """What they were when their factors were chosen, within a factor of three or so."""
    logits = limits.differences.logits
    assert 3e-7 < logits.median < 1e-5
    assert logits.median <= logits.high <= logits.object < 3e-4
    assert logits.largest < 0.05
    assert limits.ties.logits.largest < 0.1


@settings(deadline=None, derandomize=True, max_examples=5)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=ABSENT_FROM_THE_FIRST)
@example(case=EVERYTHING_AT_ONCE)
def test_direct_is_within_the_noise_of_sequential(model: Sam2, pictures: Pictures, limits: Limits, case: Case) -> None:
    expected = expected_of(case, model, pictures)
    for bank in BANKS:
        note(f"bank={bank}")
        assert_within(limits, case.masks(Direct(model, bank=bank, chunk_tokens=case.chunk_tokens), pictures), expected)


@every_extreme
def test_direct_is_within_the_noise_of_sequential_at_the_extremes(
    model: Sam2, pictures: Pictures, limits: Limits, case: Case
) -> None:
    expected = expected_of(case, model, pictures)
    for bank in BANKS:
        assert_within(limits, case.masks(Direct(model, bank=bank, chunk_tokens=case.chunk_tokens), pictures), expected)


@pytest.mark.parametrize("frames", [2, 3, 4, 10])
def test_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, limits: Limits, frames: int
) -> None:
    closest_two = copied(model)
    closest_two.network.config.max_cond_frame_num = 2
    case = Case(present=all_present(frames, 2), object_ids=(1, 2), targets=(0, 1), batch=2, seed=frames)
    expected = expected_of(case, closest_two, pictures)
    for bank in BANKS:
        assert_within(limits, case.masks(Direct(closest_two, bank=bank), pictures), expected)
    assert_same_bits(case.masks(ExtendedSession(closest_two), pictures), expected)
    if frames > 2:
        assert_outside(limits, case.masks(Direct(model), pictures), expected)  # the option matters here


@every_family
def test_where_all_gates_are_closed(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    closed = copied(model)
    closed.network.mask_decoder.pred_obj_score_head.proj_out.bias.sub_(10)
    expected = expected_of(EVERYTHING_AT_ONCE, closed, pictures)
    assert (expected.logits == -1024).all()
    for bank in BANKS:
        masks = EVERYTHING_AT_ONCE.masks(Direct(closed, bank=bank), pictures)
        assert torch.equal(masks.logits, expected.logits)
        assert_within(limits, masks, expected)
    assert_outside(limits, EVERYTHING_AT_ONCE.masks(Direct(model), pictures), expected)


@every_family
def test_pictures_of_mixed_sizes_and_shapes(model: Sam2, limits: Limits) -> None:
    generator = np.random.default_rng(7)
    sizes = [(48, 96), (200, 130), (128, 128), (31, 77), (64, 300)]
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    labels = [np.zeros(size, dtype=np.uint8) for size in sizes[:2]]
    labels[0][10:40, 20:70], labels[1][30:150, 20:60], labels[1][50:120, 70:120] = 1, 1, 5
    references, targets = model.references(images[:2], labels), model.encode(images[2:])
    expected = masks_of(Sequential(model), references, targets)
    assert references.object_ids == (1, 5)
    for bank in BANKS:
        assert_within(limits, masks_of(Direct(model, bank=bank), references, targets, batch=3), expected)
    swapped = replace(references, masks=references.masks.flip(1))
    assert_outside(limits, masks_of(Direct(model), swapped, targets, batch=3), expected)


@of_whole_memories
@settings(deadline=None, derandomize=True, max_examples=5)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=NO_MASK_AT_ALL)
def test_the_memory_bank_holds_the_bits_that_a_session_stores(model: Sam2, pictures: Pictures, case: Case) -> None:
    """In other batches than a session's, some of 8,192 values always are rounded to another neighbour (trap 7)."""
    assert torch.equal(*spatial_memories(model, case.references(model, pictures)))
