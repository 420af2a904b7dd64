from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.masks.agreement import MOST_SETTLED, MOST_WORST, AgreementMeter
from harness.masks.rule import Agreement, WorstTarget
from strategies.vocabulary import Predictions, VisionFeatures

few = settings(deadline=None, derandomize=True, max_examples=25)


def predictions(
    logits: Tensor,
    *,
    scores: Tensor | None = None,
    picks: Tensor | None = None,
    ids: tuple[int, ...] | None = None,
) -> Predictions:
    pairs = logits.shape[:2]
    return Predictions(
        logits=logits,
        object_scores=torch.ones(pairs) if scores is None else scores,
        ious=torch.zeros(*pairs, 3) if picks is None else F.one_hot(picks, 3).float(),
        object_ids=ids or tuple(range(1, pairs[1] + 1)),
    )


def random_predictions(seed: int, *, targets: int = 6, objects: int = 2, side: int = 5) -> Predictions:
    """Draw predictions like a model's: about a quarter of the gates is closed, and their logits are -1024."""
    generator = torch.Generator().manual_seed(seed)
    logits = 8 * torch.randn(targets, objects, side, side, generator=generator)
    scores = torch.randn(targets, objects, generator=generator) + 0.7
    return predictions(
        torch.where((scores > 0)[..., None, None], logits, -1024.0),
        scores=scores,
        picks=torch.randint(3, (targets, objects), generator=generator),
    )


def take(whole: Predictions, index: Tensor | slice) -> Predictions:
    return Predictions(
        logits=whole.logits[index],
        object_scores=whole.object_scores[index],
        ious=whole.ious[index],
        object_ids=whole.object_ids,
    )


def agreement(*batches: tuple[Predictions, Predictions]) -> Agreement:
    meter = AgreementMeter()
    for expected, actual in batches:
        meter.update("group", expected, actual)
    result = meter.result()
    assert result is not None
    return result


def features(place: int) -> VisionFeatures:
    """One target's, which say which it is."""
    one = torch.full((1, 1, 1, 1), float(place))
    return VisionFeatures(embedding=one, stride4=one, stride8=one)


def row(*values: float) -> Tensor:
    """Return logits of one target, one object and one line of pixels."""
    return torch.tensor(values).reshape(1, 1, 1, -1)


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


def test_a_difference_from_nothing_is_relatively_infinite() -> None:
    assert agreement((predictions(row(0.0)), predictions(row(0.5)))).differences.logits.largest == math.inf


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


# --- the worst targets ---------------------------------------------------------------------------------------------


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
