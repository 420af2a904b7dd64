"""Every exact strategy gives the masks of `sequential`: DESIGN section 1, "canonical semantics"."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from strategies import (
    Direct,
    ExtendedSession,
    MultiSession,
    Predictions,
    Rebuild,
    References,
    Sam2,
    Sequential,
    Strategy,
)
from strategies.direct import BANKS
from tests.models import (
    MOST_TARGETS,
    TOKENS,
    Pictures,
    assert_same_masks,
    group,
    masks_of,
    pick,
    spatial_memories,
)

CHUNKS = (1, 3 * TOKENS, 7 * TOKENS, 65_536)
"""One pair at once; fewer pairs than objects; a few targets; everything."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One group and how its targets arrive: present is ``[R][O]``, targets are indices in any order."""

    present: tuple[tuple[bool, ...], ...]
    object_ids: tuple[int, ...]
    targets: tuple[int, ...]
    batch: int
    chunk_tokens: int
    seed: int

    def references(self, model: Sam2, pictures: Pictures) -> References:
        frames = [(self.seed + number) % len(pictures.references) for number in range(len(self.present))]
        return group(model, pictures, frames=frames, present=self.present, object_ids=self.object_ids, seed=self.seed)


@st.composite
def cases(
    draw: st.DrawFn, *, references: tuple[int, int] = (1, 4), objects: int = 5, targets: int = MOST_TARGETS
) -> Case:
    count = draw(st.integers(1, objects))
    row = st.tuples(*[st.booleans()] * count)
    ids = draw(st.lists(st.integers(1, 254), min_size=count, max_size=count, unique=True))
    chosen = draw(st.lists(st.integers(0, MOST_TARGETS - 1), min_size=1, max_size=targets, unique=True))
    return Case(
        present=tuple(draw(st.lists(row, min_size=references[0], max_size=references[1]))),
        object_ids=tuple(ids),
        targets=tuple(chosen),
        batch=draw(st.integers(1, MOST_TARGETS)),
        chunk_tokens=draw(st.sampled_from(CHUNKS)),
        seed=draw(st.integers(0, 10_000)),
    )


ABSENT_FROM_ALL_BUT_ONE = Case(
    present=((True, True), (False, True), (False, True), (False, True)),
    object_ids=(9, 4),
    targets=(3, 0, 8),
    batch=2,
    chunk_tokens=TOKENS,
    seed=11,
)
ABSENT_FROM_THE_FIRST = Case(
    present=((False, True, True), (True, False, False)),
    object_ids=(1, 2, 3),
    targets=(5, 1),
    batch=9,
    chunk_tokens=2 * TOKENS,
    seed=12,
)
EVERYTHING_AT_ONCE = Case(
    present=((True,) * 5,) * 4,
    object_ids=(7, 3, 250, 1, 100),
    targets=tuple(range(MOST_TARGETS)),
    batch=MOST_TARGETS,
    chunk_tokens=65_536,
    seed=13,
)


def sequential_masks(model: Sam2, pictures: Pictures, case: Case) -> Predictions:
    return masks_of(Sequential(model), case.references(model, pictures), pick(pictures.targets, case.targets))


def test_the_network_of_these_tests_is_lively(model: Sam2, pictures: Pictures) -> None:
    predictions = sequential_masks(model, pictures, EVERYTHING_AT_ONCE)
    opened = predictions.object_scores > 0
    assert 0.2 < opened.float().mean() < 0.9
    assert predictions.picks.flatten().bincount(minlength=3).min() >= 3
    positive = (predictions.logits[opened] > 0).float().mean()
    assert 0.1 < positive < 0.9
    assert predictions.logits[opened].abs().max() > 1
    assert (predictions.logits[~opened] == -1024).all()
    only_by_memory = predictions.object_scores.std(dim=1).mean()  # of one target, from object to object
    assert only_by_memory > 0.5 * predictions.object_scores.std()


@settings(deadline=None, derandomize=True, max_examples=16)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=ABSENT_FROM_THE_FIRST)
@example(case=EVERYTHING_AT_ONCE)
def test_direct_equals_sequential_in_every_bank_mode(model: Sam2, pictures: Pictures, case: Case) -> None:
    references = case.references(model, pictures)
    targets = pick(pictures.targets, case.targets)
    expected = sequential_masks(model, pictures, case)
    for bank in BANKS:
        note(f"bank={bank}")
        direct = Direct(model, bank=bank, chunk_tokens=case.chunk_tokens)
        assert_same_masks(masks_of(direct, references, targets, batch=case.batch), expected)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
def test_the_memory_bank_holds_what_a_session_stores(model: Sam2, pictures: Pictures, case: Case) -> None:
    ours, theirs = spatial_memories(model, case.references(model, pictures))
    assert ours.shape == theirs.shape
    assert (ours != theirs).float().mean() < 1e-3  # rounding ties: see TOLERANCE
    assert torch.allclose(ours, theirs, rtol=2**-7, atol=1e-5)  # by one step of bf16, or by noise near zero


@settings(deadline=None, derandomize=True, max_examples=8)
@given(case=cases(references=(1, 3), objects=3, targets=2))
@example(case=ABSENT_FROM_ALL_BUT_ONE)
def test_rebuild_equals_sequential(model: Sam2, pictures: Pictures, case: Case) -> None:
    targets = pick(pictures.targets, case.targets)
    masks = masks_of(Rebuild(model), case.references(model, pictures), targets, batch=case.batch)
    assert_same_masks(masks, sequential_masks(model, pictures, case))


@pytest.mark.parametrize(
    "make",
    [
        lambda model, count: MultiSession(model, sessions=count),
        lambda model, count: ExtendedSession(model, slots=count),
    ],
    ids=["multi_session", "extended_session"],
)
@settings(deadline=None, derandomize=True, max_examples=10)
@given(case=cases(references=(1, 6)), count=st.integers(1, 5))
@example(case=ABSENT_FROM_ALL_BUT_ONE, count=3)
@example(case=ABSENT_FROM_THE_FIRST, count=4)
@example(case=EVERYTHING_AT_ONCE, count=4)
def test_strategies_of_many_sessions_or_slots_equal_sequential(
    model: Sam2, pictures: Pictures, make: Callable[[Sam2, int], Strategy], case: Case, count: int
) -> None:
    targets = pick(pictures.targets, case.targets)
    masks = masks_of(make(model, count), case.references(model, pictures), targets, batch=case.batch)
    assert_same_masks(masks, sequential_masks(model, pictures, case))


@pytest.mark.parametrize(
    "make",
    [Sequential, MultiSession, ExtendedSession, Direct, lambda model: Direct(model, chunk_tokens=3 * TOKENS)],
    ids=["sequential", "multi_session", "extended_session", "direct", "direct in small chunks"],
)
@settings(deadline=None, derandomize=True, max_examples=5)
@given(order=st.permutations(range(MOST_TARGETS)), batch=st.integers(1, MOST_TARGETS))
def test_targets_in_another_order_get_the_same_masks(
    model: Sam2, pictures: Pictures, make: Callable[[Sam2], Strategy], order: list[int], batch: int
) -> None:
    references = EVERYTHING_AT_ONCE.references(model, pictures).first_objects(2)
    in_order = masks_of(make(model), references, pictures.targets, batch=MOST_TARGETS)
    masks = masks_of(make(model), references, pick(pictures.targets, order), batch=batch)
    permuted = Predictions(
        logits=in_order.logits[order],
        object_scores=in_order.object_scores[order],
        picks=in_order.picks[order],
        object_ids=in_order.object_ids,
    )
    assert_same_masks(masks, permuted)


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("frames", [2, 3, 4, 10])
def test_direct_equals_sequential_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, frames: int, bank: str
) -> None:
    closest_two = Sam2(copy.deepcopy(model.network), name="toy")
    closest_two.network.config.max_cond_frame_num = 2
    references = group(closest_two, pictures, frames=range(frames), present=[[True, True]] * frames, seed=frames)
    targets = pictures.targets[:2]
    masks = masks_of(Direct(closest_two, bank=bank), references, targets)
    expected = masks_of(Sequential(closest_two), references, targets)
    assert_same_masks(masks, expected)
    if frames > 2:
        with pytest.raises(AssertionError):  # the option matters here
            assert_same_masks(masks, masks_of(Direct(model, bank=bank), references, targets))


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("frames", [16, 17])
def test_direct_equals_sequential_at_and_beyond_the_longest_pointer_span(
    model: Sam2, pictures: Pictures, frames: int, bank: str
) -> None:
    assert model.network.config.max_object_pointers_in_encoder == 16
    present = [[number % 3 != 1, number % 4 != 0] for number in range(frames)]
    references = group(model, pictures, frames=range(frames), present=present, seed=frames)
    targets = pictures.targets[:2]
    masks = masks_of(Direct(model, bank=bank), references, targets)
    expected = masks_of(Sequential(model), references, targets)
    assert_same_masks(masks, expected)


def test_the_same_group_gives_the_same_bits_twice(model: Sam2, pictures: Pictures) -> None:
    references = ABSENT_FROM_THE_FIRST.references(model, pictures)
    first, second = (masks_of(Direct(model), references, pictures.targets) for _ in range(2))
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.object_scores, second.object_scores)
