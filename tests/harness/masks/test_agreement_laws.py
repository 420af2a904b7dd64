"""What holds for the agreement of all predictions, and which targets it lists as the worst."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.masks.agreement import MOST_WORST, AgreementMeter
from harness.masks.rule import WorstTarget
from tests.support.predictions import agreement, predictions, random_predictions, take

few = settings(deadline=None, derandomize=True, max_examples=25)


@few
@given(seed=st.integers(0, 2**20))
def test_a_strategy_agrees_with_itself(seed: int) -> None:
    same = random_predictions(seed)
    result = agreement((same, same))
    assert result.iou_mean == result.iou_p1 == result.iou_min == result.share_at_99 == 1
    assert result.max_abs_dlogit == result.differences.logits.largest == result.gate_flips == result.pick_flips == 0


@few
@given(seed=st.integers(0, 2**20), cuts=st.lists(st.integers(0, 6), max_size=3).map(sorted))
def test_batches_change_nothing(seed: int, cuts: list[int]) -> None:
    expected, actual = random_predictions(seed), random_predictions(seed + 1)
    bounds = [0, *cuts, len(expected)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    split = agreement(*((take(expected, part), take(actual, part)) for part in parts))
    assert replace(split, calls=1) == agreement((expected, actual))
    assert split.calls == len(parts)


@few
@given(seed=st.integers(0, 2**20), order=st.permutations(range(6)))
def test_order_of_targets_changes_nothing(seed: int, order: list[int]) -> None:
    expected, actual = random_predictions(seed), random_predictions(seed + 1)
    index = torch.tensor(order)
    plain, permuted = agreement((expected, actual)), agreement((take(expected, index), take(actual, index)))
    assert permuted.iou_mean == pytest.approx(plain.iou_mean, rel=1e-12)  # a sum in another order
    names = ("iou_p1", "iou_min", "share_at_99", "max_abs_dlogit", "differences", "gate_flips", "pick_flips")
    assert [getattr(permuted, name) for name in names] == [getattr(plain, name) for name in names]


@few
@given(seed=st.integers(0, 2**20))
def test_sides_matter_only_to_the_scale(seed: int) -> None:
    one, other = random_predictions(seed), random_predictions(seed + 1)
    there, back = agreement((one, other)), agreement((other, one))
    assert there.per_object == back.per_object
    assert (there.max_abs_dlogit, there.gate_flips) == (back.max_abs_dlogit, back.gate_flips)


def iou_by_counting(expected: Tensor, actual: Tensor) -> float:
    one, other = (set(map(tuple, (logits > 0).nonzero().tolist())) for logits in (expected, actual))
    return len(one & other) / len(one | other) if one | other else 1.0


@few
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    batch=st.integers(1, 4),
    side=st.integers(1, 3),
)
def test_the_worst_targets_are_those_that_a_search_of_all_targets_finds(
    seed: int, sizes: list[int], batch: int, side: int
) -> None:
    meter, every = AgreementMeter(), []
    for number, targets in enumerate(sizes):
        group, ids = f"group{number}", (number + 5, number + 1)
        expected, actual = (
            replace(random_predictions(seed + number + more, targets=targets, side=side), object_ids=ids)
            for more in (0, 100)
        )
        for start in range(0, targets, batch):
            part = slice(start, start + batch)
            meter.update(group, take(expected, part), take(actual, part))
        for target in range(targets):
            ious = [iou_by_counting(expected.logits[target, at], actual.logits[target, at]) for at in range(2)]
            at = ious.index(min(ious))
            every.append(WorstTarget(group=group, target=target, object_id=ids[at], iou=ious[at]))
    result = meter.result()
    assert result is not None
    assert list(result.worst) == sorted(every, key=lambda one: one.iou)[:MOST_WORST]
    assert result.worst[0].iou == result.iou_min


def test_of_targets_that_are_equally_bad_the_first_are_listed() -> None:
    same = predictions(torch.ones(MOST_WORST + 5, 1, 1, 1))
    worst = agreement((same, same)).worst
    assert [(one.target, one.iou) for one in worst] == [(target, 1.0) for target in range(MOST_WORST)]


def test_a_target_that_is_not_finite_is_the_worst() -> None:
    good = predictions(torch.ones(3, 2, 2, 2), ids=(7, 3))
    logits = good.logits.clone()
    logits[1, 1, 0, 0] = math.nan
    worst = agreement((good, predictions(logits, ids=(7, 3)))).worst[0]
    assert worst == WorstTarget(group="group", target=1, object_id=3, iou=0.0)
