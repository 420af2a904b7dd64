from __future__ import annotations

import math

import pytest
import torch

from harness.masks.agreement import AgreementMeter
from tests.support.predictions import agreement, predictions, random_predictions, row, take


def test_by_hand() -> None:
    expected = predictions(row(2.0, 4.0, -1.0, -3.0))
    actual = predictions(row(2.5, 4.0, 0.5, -3.0))
    result = agreement((expected, actual))
    assert result.iou_mean == result.iou_p1 == result.iou_min == pytest.approx(2 / 3)
    assert result.share_at_99 == 0
    assert result.max_abs_dlogit == 1.5
    assert result.differences.logits.largest == 1.5 / 4
    assert (result.gate_flips, result.pick_flips, result.targets) == (0, 0, 1)


def test_a_logit_of_zero_is_not_object() -> None:
    assert agreement((predictions(row(0.0, 1.0)), predictions(row(-1.0, 1.0)))).iou_min == 1


def test_two_empty_masks_agree() -> None:
    assert agreement((predictions(row(-1.0, -2.0)), predictions(row(-2.0, -1.0)))).iou_min == 1


def test_statistics_by_object() -> None:
    # Object 7 agrees in 99 of 101 targets and by half in the other two; object 3 always.
    logits = torch.ones(101, 2, 1, 2)
    actual = logits.clone()
    actual[:2, 0, 0, 0] = -1
    result = agreement((predictions(logits, ids=(7, 3)), predictions(actual, ids=(7, 3))))
    assert list(result.per_object) == ["group/7", "group/3"]
    assert result.per_object["group/3"].iou_mean == result.per_object["group/3"].iou_min == 1
    assert result.per_object["group/7"].iou_mean == pytest.approx(100 / 101)
    assert result.per_object["group/7"].iou_p1 == 0.5  # rank 1 of 0..100
    assert result.iou_mean == pytest.approx(201 / 202)
    assert result.iou_p1 == 1  # rank 2.01 of 0..201 lies above both halves
    assert result.iou_min == 0.5
    assert result.share_at_99 == pytest.approx(200 / 202)


def test_percentile_is_interpolated() -> None:
    logits = torch.ones(11, 1, 1, 2)
    actual = logits.clone()
    actual[4, 0, 0, 1] = -1
    assert agreement((predictions(logits), predictions(actual))).iou_p1 == pytest.approx(0.5 + 0.1 * 0.5)


def test_an_iou_of_just_99_percent_is_in_the_share() -> None:
    logits = torch.ones(2, 1, 10, 10)
    actual = logits.clone()
    actual[0, 0, 0, 0] = actual[1, 0, :2, 0] = -1
    assert agreement((predictions(logits), predictions(actual))).share_at_99 == 0.5


def test_a_difference_from_nothing_is_relatively_infinite() -> None:
    assert agreement((predictions(row(0.0)), predictions(row(0.5)))).differences.logits.largest == math.inf


def test_quantiles_are_over_pairs_and_the_object_is_that_with_the_largest_median() -> None:
    logits = torch.full((10, 2, 1, 1), 10.0)
    moved = logits.clone()
    moved[:, 1] += torch.arange(10.0)[:, None, None]
    found = agreement((predictions(logits), predictions(moved))).differences.logits
    assert (found.median, found.high, found.largest) == pytest.approx((0, 0.7, 0.9))
    assert found.object == pytest.approx(0.4)


def test_differences_are_relative_to_the_pair_itself() -> None:
    expected = predictions(torch.cat([row(100.0), row(1.0)]))
    actual = predictions(torch.cat([row(100.0), row(1.5)]))
    assert agreement((expected, actual)).differences.logits.largest == 0.5


def test_differences_of_scores_and_of_predicted_ious_are_the_largest() -> None:
    expected, actual = random_predictions(1), random_predictions(1)
    actual.object_scores[2, 1] += 0.25
    actual.ious[3, 0, 2] -= 0.125
    result = agreement((expected, actual))
    assert result.max_abs_dscore == pytest.approx(0.25)
    assert result.max_abs_diou == pytest.approx(0.125)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sides", ["expected", "actual", "both"])
def test_logits_that_are_not_finite_agree_with_nothing(bad: float, sides: str) -> None:
    good = predictions(torch.ones(2, 1, 2, 2))
    logits = good.logits.clone()
    logits[1, 0, 0, 0] = bad
    broken = predictions(logits)
    pair = {"expected": (broken, good), "actual": (good, broken), "both": (broken, broken)}[sides]
    result = agreement(pair, (good, good))
    assert result.iou_min == 0
    assert result.iou_mean == result.share_at_99 == 0.75
    assert result.max_abs_dlogit == result.differences.logits.largest == math.inf
    assert result.gate_flips == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_agree_with_nothing(bad: float) -> None:
    for good in (predictions(row(1.0)), predictions(row(-1024.0), scores=torch.tensor([[-1.0]]))):
        result = agreement((good, predictions(good.logits, scores=torch.tensor([[bad]]))))
        assert (result.iou_min, result.max_abs_dlogit, result.gate_flips) == (0, math.inf, 1)


def test_what_does_not_fit_is_a_misfit() -> None:
    good = random_predictions(0)
    renamed = predictions(good.logits, ids=(2, 1))
    squeezed = predictions(good.logits, scores=good.object_scores[:1])
    for expected, actual, told in (
        (good, renamed, "[2, 1]"),
        (good, squeezed, "object scores [1, 2]"),
        (good, take(good, slice(5)), "6 targets"),
        (good, random_predictions(0, side=4), "instead of"),
    ):
        meter = AgreementMeter()
        assert meter.update("group", expected, actual) is None
        meter.update("group", good, good)
        result = meter.result()
        assert result is not None
        assert result.misfit is not None
        assert told in result.misfit
    meter = AgreementMeter()
    meter.update("group", good, good)
    meter.update("group", renamed, renamed)
    result = meter.result()
    assert result is not None
    assert result.misfit is not None, "another order than in the group's earlier batches"


def test_of_no_target_there_is_no_result() -> None:
    assert AgreementMeter().result() is None


def test_groups_may_have_other_objects_and_count_together() -> None:
    one, other = random_predictions(1), predictions(row(2.0, 4.0, -1.0, -3.0), ids=(9,))
    meter = AgreementMeter()
    meter.update("a", one, one)
    meter.update("b", other, predictions(row(2.5, 4.0, 0.5, -3.0), ids=(9,)))
    result = meter.result()
    assert result is not None
    pairs = one.picks.numel() + 1
    assert result.iou_mean == pytest.approx((pairs - 1 + 2 / 3) / pairs)
    assert result.targets == len(one) + 1
    assert result.per_object["b/9"].iou_min == pytest.approx(2 / 3)


def test_an_update_returns_the_iou_of_every_pair() -> None:
    expected, actual = random_predictions(1), random_predictions(2)
    meter = AgreementMeter()
    ious = meter.update("group", expected, actual)
    result = meter.result()
    assert result is not None
    assert ious is not None
    assert ious.shape == (6, 2)
    assert ious.mean() == pytest.approx(result.iou_mean)
    assert ious[:, 1].min() == result.per_object["group/2"].iou_min
