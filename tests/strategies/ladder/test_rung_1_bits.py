"""The ladder: how equal the strategies are, from the strictest rung to the loosest. Read it from top to bottom.

1. Bit-exact, where the same kernels run on the same shapes, in as many threads.
2. fp32: within the limits above the noise floor that `harness.masks.noise` measures on the network of these tests.
3. Reduced precision: within limits measured in the same way, in bf16 and fp16.
4. Down: mistakes that fall off.

Every rung is climbed over the axes of the task: batch 1 to 33, objects 1 to 9, references 1 to 17 and more of them than
`max_cond_frame_num`, objects absent from some references or from all, gates closed, pictures of any and mixed sizes,
targets in any order, one target, a last batch that is not full. For the fused kernels the same is in test_triton.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.masks.rule import Limits
from strategies import Direct, ExtendedSession, MultiSession, Predictions, Rebuild, Sam2, Sequential, Strategy
from strategies.direct import BANKS
from tests.support.ladder import (
    ABSENT_FROM_ALL_BUT_ONE,
    ABSENT_FROM_THE_FIRST,
    EVERYTHING_AT_ONCE,
    NO_MASK_AT_ALL,
    ONE_TARGET_IN_A_LARGE_BATCH,
    ONE_TARGET_LEFT_OVER,
    SESSIONS,
    Case,
    all_present,
    assert_same_bits,
    assert_same_bits_on_as_many_cores,
    assert_within,
    cases,
    expected_of,
    permuted,
)
from tests.support.models import MOST_TARGETS, Pictures, every_family, masks_of, pick

pytestmark = pytest.mark.slow


@every_family
def test_the_network_to_climb_with_is_lively(model: Sam2, pictures: Pictures) -> None:
    """On one that is not, every shortcut would look exact."""
    predictions = replace(EVERYTHING_AT_ONCE, targets=tuple(range(MOST_TARGETS))).masks(Direct(model), pictures)
    opened = predictions.object_scores > 0
    assert 0.2 < opened.float().mean() < 0.9
    assert predictions.picks.flatten().bincount(minlength=3).min() >= 3
    positive = (predictions.logits[opened] > 0).float().mean()
    assert 0.1 < positive < 0.9
    assert predictions.logits[opened].abs().max() > 1
    assert (predictions.logits[~opened] == -1024).all()
    only_by_memory = predictions.object_scores.std(dim=1).mean()  # of one target, from object to object
    assert only_by_memory > 0.5 * predictions.object_scores.std()


@pytest.mark.parametrize("make", SESSIONS.values(), ids=list(SESSIONS))
@settings(deadline=None, derandomize=True, max_examples=4)
@given(case=cases(objects=3), count=st.integers(1, 5))
@example(case=ABSENT_FROM_ALL_BUT_ONE, count=3)
@example(case=ABSENT_FROM_THE_FIRST, count=4)
@example(case=EVERYTHING_AT_ONCE, count=4)
@example(case=NO_MASK_AT_ALL, count=2)
@example(case=ONE_TARGET_LEFT_OVER, count=4)
def test_many_sessions_or_slots_give_the_bits_of_sequential(
    model: Sam2, pictures: Pictures, limits: Limits, make: Callable[[Sam2, int], Strategy], case: Case, count: int
) -> None:
    strategy, expected = make(model, count), expected_of(case, model, pictures)
    assert_same_bits_on_as_many_cores(strategy, case.masks(strategy, pictures), expected, limits)


def test_the_same_threads_are_needed_for_the_same_bits(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    """Sums are split among threads, so another number of them is float noise, and so are sessions that share them."""
    case = replace(ONE_TARGET_IN_A_LARGE_BATCH, targets=(2, 6))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    of_one_thread = case.masks(Sequential(model), pictures)
    torch.set_num_threads(2)
    try:
        expected, alone, slots, pairs = (
            case.masks(strategy, pictures)
            for strategy in (
                Sequential(model),
                MultiSession(model, sessions=1),
                ExtendedSession(model),
                MultiSession(model, sessions=2),
            )
        )
    finally:
        torch.set_num_threads(before)
    assert_same_bits(alone, expected)
    assert_same_bits(slots, expected)
    assert_within(limits, pairs, expected)
    assert_within(limits, of_one_thread, expected)


@settings(deadline=None, derandomize=True, max_examples=3)
@given(case=cases(references=(1, 3), objects=3, targets=2))
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=NO_MASK_AT_ALL)
def test_rebuild_gives_the_bits_of_sequential(model: Sam2, pictures: Pictures, case: Case) -> None:
    """The references that `sequential` sees are encoded in a batch of the same size."""
    references = case.references(model, pictures)
    assert references.pixels is not None
    references = replace(references, features=model.encode_pixels(references.pixels))
    targets = pick(pictures.targets, case.targets)
    rebuilt, expected = (masks_of(make(model), references, targets) for make in (Rebuild, Sequential))
    assert_same_bits(rebuilt, expected)


ANY_ORDER: dict[str, Callable[[Sam2], Strategy]] = {
    "sequential": Sequential,
    "multi_session": MultiSession,
    "extended_session": ExtendedSession,
    "direct, a pair at once": lambda model: Direct(model, chunk_tokens=1),
}

IN_ORDER = Case(
    present=all_present(2, 2), object_ids=(1, 2), targets=tuple(range(MOST_TARGETS)), batch=MOST_TARGETS, seed=13
)


@functools.cache
def masks_in_order(make: Callable[[Sam2], Strategy], model: Sam2, pictures: Pictures) -> Predictions:
    return IN_ORDER.masks(make(model), pictures)


@pytest.mark.parametrize("make", ANY_ORDER.values(), ids=list(ANY_ORDER))
@settings(deadline=None, derandomize=True, max_examples=2)
@given(order=st.permutations(range(MOST_TARGETS)), batch=st.integers(1, MOST_TARGETS))
def test_targets_in_another_order_and_batch_get_the_same_bits(
    model: Sam2, pictures: Pictures, limits: Limits, make: Callable[[Sam2], Strategy], order: list[int], batch: int
) -> None:
    shuffled = replace(IN_ORDER, targets=tuple(order), batch=batch)
    strategy, expected = make(model), permuted(masks_in_order(make, model, pictures), order)
    assert_same_bits_on_as_many_cores(strategy, shuffled.masks(strategy, pictures), expected, limits)


@every_family
@pytest.mark.parametrize("bank", BANKS)
def test_direct_gives_the_same_bits_twice(model: Sam2, pictures: Pictures, bank: str) -> None:
    first, second = (ABSENT_FROM_THE_FIRST.masks(Direct(model, bank=bank), pictures) for _ in range(2))
    assert_same_bits(first, second)
