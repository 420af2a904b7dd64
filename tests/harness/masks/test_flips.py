"""What flips of gates and of picks count for, and what a closed gate is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.masks.agreement import MOST_SETTLED, AgreementMeter
from strategies.vocabulary import Predictions
from tests.support.predictions import agreement, features, predictions, row


def test_a_gate_flip_is_counted_and_kept_out_of_the_difference() -> None:
    expected = predictions(torch.cat([row(2.0, 4.0), row(1.0, 9.0)]))
    actual = predictions(torch.cat([row(2.0, 4.5), row(-1024.0, -1024.0)]), scores=torch.tensor([[1.0], [-0.1]]))
    for pair in ((expected, actual), (actual, expected)):
        result = agreement(pair)
        assert result.gate_flips == 1
        assert result.max_abs_dlogit == 0.5
        assert result.iou_min == 0
    assert agreement((expected, actual)).differences.logits.largest == 0.5 / 4  # the 9 belongs to the flipped pair


def test_a_score_of_zero_is_closed() -> None:
    closed, negative = (predictions(row(-1024.0), scores=torch.tensor([[score]])) for score in (0.0, -3.0))
    assert agreement((closed, negative)).gate_flips == 0
    assert agreement((closed, predictions(row(-1.0)))).gate_flips == 1


def test_closed_gates_have_no_difference() -> None:
    closed = predictions(row(-1024.0, -1024.0), scores=torch.tensor([[-1.0]]))
    result = agreement((closed, closed))
    assert (result.max_abs_dlogit, result.differences.logits.largest, result.iou_min) == (0, 0, 1)


def test_pick_flips_are_counted() -> None:
    logits = torch.ones(2, 2, 1, 1)
    expected = predictions(logits, picks=torch.tensor([[0, 1], [2, 0]]))
    actual = predictions(logits, picks=torch.tensor([[0, 2], [1, 0]]))
    assert agreement((expected, actual)).pick_flips == 2


def test_decisive_differences_are_of_pairs_that_choose_alike() -> None:
    expected = predictions(row(4.0, -1.0).repeat(3, 1, 1, 1), picks=torch.tensor([[0], [0], [2]]))
    actual = predictions(
        expected.logits + torch.tensor([0.5, 0.1, 9.0])[:, None, None, None], picks=torch.zeros(3, 1).long()
    )
    result = agreement((expected, actual))
    assert result.max_abs_dlogit == 9, "what a flipped pick does is not hidden"
    assert result.differences.logits.largest == 0.5 / 4
    assert result.differences.logits.median == pytest.approx(0.1 / 4), "of two, the lower"
    assert result.iou_mean == pytest.approx((1 + 1 + 0.5) / 3)
    assert result.compared_iou_min == 1


def flipped_pick() -> tuple[Predictions, Predictions, Tensor]:
    """Two targets; the second's pick is flipped to candidate 2. With all candidates of the second, ``[O, K, H, W]``."""
    expected = predictions(row(4.0, -1.0).repeat(2, 1, 1, 1), picks=torch.tensor([[0], [0]]))
    candidates = torch.stack([row(4.0, -1.0)[0, 0], row(9.0, 9.0)[0, 0], row(-8.0, 2.0)[0, 0]])[None]
    actual = predictions(torch.cat([expected.logits[:1], candidates[None, :, 2]]), picks=torch.tensor([[0], [2]]))
    return expected, actual, candidates


@pytest.mark.parametrize(("off", "told"), [(0.0, 0.0), (0.5, 0.5 / 8)])
def test_a_flipped_pair_is_compared_with_the_candidate_that_was_taken(off: float, told: float) -> None:
    expected, actual, candidates = flipped_pick()
    actual.logits[1] += off
    meter = AgreementMeter()
    meter.update("group", expected, actual, target=lambda place: features(place))
    (flip,) = meter.flips
    assert float(flip.target().embedding) == 1, "of the second target"
    before = meter.result()
    flip.settle(candidates)
    after = meter.result()
    assert before is not None
    assert after is not None
    assert before.differences.logits.largest == 0
    assert after.differences.logits.largest == pytest.approx(told)
    assert (before.iou_min, after.iou_min) == (0, 0), "what a flipped pick does is not hidden"
    assert after.compared_iou_min == 1
    assert after.pick_flips == 1


def test_noise_in_a_flipped_pair_shares_no_pixel_with_its_candidate() -> None:
    expected, actual, candidates = flipped_pick()
    actual.logits[1] = -candidates[:, 2]
    meter = AgreementMeter()
    meter.update("group", expected, actual, target=lambda place: features(place))
    meter.flips[0].settle(candidates)
    result = meter.result()
    assert result is not None
    assert result.compared_iou_min == 0
    assert result.differences.logits.largest == 2


def test_of_many_flips_some_are_kept() -> None:
    many = MOST_SETTLED * 3
    expected = predictions(torch.ones(many, 1, 1, 1), picks=torch.zeros(many, 1).long())
    actual = predictions(torch.ones(many, 1, 1, 1), picks=torch.ones(many, 1).long())
    meter = AgreementMeter()
    meter.update("group", expected, actual, target=lambda place: features(place))
    kept = sorted(float(flip.target().embedding) for flip in meter.flips)
    assert len(kept) == len(set(kept)) == MOST_SETTLED
    assert kept[-1] > many / 2


@pytest.mark.parametrize("logit", [-0.001, 5.0])
def test_a_closed_gate_is_empty_to_the_last_logit(logit: float) -> None:
    scores = torch.tensor([[-1.0]])
    closed = predictions(row(-1024.0, -1024.0), scores=scores)
    assert agreement((closed, closed)).not_empty == 0
    assert agreement((closed, predictions(row(-1024.0, logit), scores=scores))).not_empty == 1
    opened = predictions(row(1.0, 1.0))
    assert agreement((opened, predictions(row(1.0, 1.0), scores=scores))).not_empty == 1, "a flipped gate, too"


def test_excused_objects_are_told_apart() -> None:
    logits = torch.ones(3, 2, 1, 1)
    moved = logits.clone()
    moved[:, 1] += 0.5
    meter = AgreementMeter()
    meter.update("group", predictions(logits), predictions(moved))
    assert [name for _, _, name in meter.objects] == ["group/1", "group/2"]
    assert meter.differences("group", 1).logits.median == 0.5
    result = meter.result(excused=["group/2"])
    assert result is not None
    assert result.excused == ("group/2",)
    assert result.differences.logits.largest == 0
    assert result.of_excused is not None
    assert result.of_excused.logits.largest == 0.5
