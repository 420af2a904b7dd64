"""What `extended_session` does that others do not: targets go into the slots of one long session.

That it equals `sequential` is in `ladder/`, what all strategies promise in test_strategy_interface.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch

from strategies import ExtendedSession, Sam2, Sequential, UserError
from tests.support.ladder import assert_same_bits
from tests.support.models import Pictures, conditioned_session, masks_of, pick
from tests.support.sessions import assert_other_masks, references_of
from tests.support.tensors import new_tensor_bytes
from tests.support.traps import session_masks

raw = partial(ExtendedSession, positions="raw")


def test_pinned_slots_give_the_bits_of_sequential(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures, frames=3)
    masks = masks_of(ExtendedSession(model, slots=9), references, pictures.targets, batch=9)
    assert_same_bits(masks, masks_of(Sequential(model), references, pictures.targets))


@pytest.mark.slow
@pytest.mark.parametrize("frames", [3, 9, 17])
def test_pinned_slots_equal_sequential_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, frames: int
) -> None:
    closest_two = Sam2(copy.deepcopy(model.network), name="toy")
    closest_two.network.config.max_cond_frame_num = 2
    references = references_of(closest_two, pictures, frames=frames)
    expected = masks_of(Sequential(closest_two), references, pictures.targets[:5])
    masks = masks_of(ExtendedSession(closest_two), references, pictures.targets[:5], batch=5)
    assert_same_bits(masks, expected)


def test_raw_positions_are_those_of_a_long_session(model: Sam2, pictures: Pictures) -> None:
    assert ExtendedSession(model).exact
    assert not raw(model).exact
    references = references_of(model, pictures)
    masks = masks_of(raw(model, slots=4), references, pictures.targets[:4])
    for slot in range(4):
        alone = session_masks(model, references, pictures.targets[slot : slot + 1], frame=2 + slot, frames=6)
        assert torch.equal(masks.logits[slot], alone), "slots know nothing of each other"


def test_raw_positions_give_other_masks_and_each_slot_its_own(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    four = pick(pictures.targets, (0, 0, 0, 0))
    expected = masks_of(Sequential(model), references, four)
    masks = masks_of(raw(model, slots=4), references, four)
    assert_other_masks(masks, expected)
    assert_other_masks(masks[1:], masks[:3])
    pinned = masks_of(ExtendedSession(model, slots=4), references, four)
    assert_same_bits(pinned, expected)


def test_raw_positions_are_the_pinned_ones_in_a_single_slot(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    masks = masks_of(raw(model, slots=1), references, pictures.targets, batch=9)
    assert_same_bits(masks, masks_of(Sequential(model), references, pictures.targets))


def test_raw_positions_are_the_pinned_ones_in_the_first_slot_after_15_references(
    model: Sam2, pictures: Pictures
) -> None:
    references = references_of(model, pictures, frames=15)
    expected = masks_of(Sequential(model), references, pictures.targets[:3])
    masks = masks_of(raw(model), references, pictures.targets[:3])
    assert_same_bits(masks[:1], expected[:1])
    assert_other_masks(masks[1:], expected[1:])


def test_raw_positions_enter_through_the_encoding_of_pointers_and_nowhere_else(model: Sam2, pictures: Pictures) -> None:
    timeless = Sam2(copy.deepcopy(model.network), name="toy")
    timeless.network.config.enable_temporal_pos_encoding_for_object_pointers = False
    assert raw(timeless).exact
    references = references_of(timeless, pictures)
    expected = masks_of(Sequential(timeless), references, pictures.targets)
    assert_same_bits(masks_of(raw(timeless, slots=9), references, pictures.targets, batch=9), expected)


def test_raw_positions_choose_other_references_where_a_session_conditions_on_the_closest(
    model: Sam2, pictures: Pictures
) -> None:
    closest_two = Sam2(copy.deepcopy(model.network), name="toy")
    config = closest_two.network.config
    config.enable_temporal_pos_encoding_for_object_pointers, config.max_cond_frame_num = False, 2
    assert not raw(closest_two).exact
    references = references_of(closest_two, pictures, frames=6)
    four = pick(pictures.targets, (0, 0, 0, 0))
    masks, expected = (masks_of(make(closest_two), references, four) for make in (raw, Sequential))
    assert_same_bits(masks[:1], expected[:1])
    assert_other_masks(masks[3:], expected[3:])


@pytest.mark.parametrize("make", [ExtendedSession, raw], ids=["pinned", "raw"])
def test_a_large_batch_goes_through_the_slots_in_rounds(
    model: Sam2, pictures: Pictures, make: Callable[..., ExtendedSession]
) -> None:
    references = references_of(model, pictures)
    rounds = masks_of(make(model, slots=4), references, pictures.targets, batch=9)
    batches = masks_of(make(model, slots=4), references, pictures.targets, batch=4)
    assert_same_bits(rounds, batches)


@pytest.mark.slow
@pytest.mark.usefixtures("new_objects_only")
def test_slots_let_go_of_the_features_of_their_batch(model: Sam2, pictures: Pictures) -> None:
    with ExtendedSession(model) as strategy:
        strategy.prepare(references_of(model, pictures))
        held = []
        for batch in (1, 8, 9):
            strategy.predict(pictures.targets[:batch].clone())
            held.append(new_tensor_bytes())
    assert held[0] == held[1] == held[2]


def test_a_session_cannot_remember_a_target_that_was_not_encoded(model: Sam2, pictures: Pictures) -> None:
    """Why slots are cleared one by one, with raw positions too."""
    session = conditioned_session(model, references_of(model, pictures), frames=4)
    for frame in (2, 3):
        session.inject(frame, pictures.targets[frame : frame + 1])
    model.network(session.hf, frame_idx=2, run_mem_encoder=False)
    with pytest.raises(KeyError, match="maskmem_features"):
        model.network(session.hf, frame_idx=3, run_mem_encoder=False)


def test_the_number_of_slots_must_be_positive(model: Sam2) -> None:
    with pytest.raises(UserError, match="slots=0 must be at least 1"):
        ExtendedSession(model, slots=0)


def test_unknown_positions_are_answered_with_the_ones_that_exist(model: Sam2) -> None:
    with pytest.raises(UserError, match="positions=free is not known; choose one of pinned, raw"):
        ExtendedSession(model, positions="free")
