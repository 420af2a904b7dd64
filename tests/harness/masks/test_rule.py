"""The rule: limits above a floor, and what is beyond them."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from harness.masks.rule import (
    CONFIDENCE,
    LUCK,
    ROUNDOFF,
    TIMES,
    TIMES_LARGEST,
    Agreement,
    Differences,
    Distances,
    Limits,
    NoiseFloor,
    disagreement,
    highest_rate,
    measures,
    most_flips,
    rarest_fault,
)

many = settings(deadline=None, derandomize=True, max_examples=300)

QUANTILES = ("median", "high", "largest", "object")
KINDS = ("logits", "scores", "ious")


def all_alike(value: float) -> Differences:
    return Differences(**{kind: Distances(**dict.fromkeys(QUANTILES, value)) for kind in KINDS})


def floor(**changes: Any) -> NoiseFloor:
    measured = NoiseFloor(
        dtype="bf16",
        fine=all_alike(0.02),
        coarse=all_alike(0.03),
        largest_score=1.0,
        largest_iou=1.0,
        iou=0.98,
        gate_flips=1,
        pick_flips=2,
        pairs=100,
    )
    return replace(measured, **changes)


def agreement(**changes: Any) -> Agreement:
    """Perfect, but for the changes."""
    perfect = Agreement(
        iou_mean=1.0,
        iou_p1=1.0,
        iou_min=1.0,
        compared_iou_min=1.0,
        share_at_99=1.0,
        max_abs_dlogit=0.0,
        max_abs_dscore=0.0,
        max_abs_diou=0.0,
        differences=all_alike(0.0),
        of_excused=None,
        excused=(),
        gate_flips=0,
        pick_flips=0,
        not_empty=0,
        misfit=None,
        calls=4,
        pairs=16,
        targets=8,
        per_object={},
    )
    return replace(perfect, **changes)


def beyond(kind: str, quantile: str, value: float) -> Differences:
    differences = all_alike(0.0)
    return replace(differences, **{kind: replace(getattr(differences, kind), **{quantile: value})})


LIMITS = Limits(differences=all_alike(1e-4), ties=all_alike(0.01), gate_rate=0.1, pick_rate=0.1)


def test_masks_that_agree_are_right() -> None:
    assert disagreement(agreement(), LIMITS) is None


def test_masks_that_were_not_compared_are_not_wrong() -> None:
    assert disagreement(None, LIMITS) is None
    assert disagreement(None, None) is None


def test_what_is_at_its_limit_is_right() -> None:
    noise = agreement(
        differences=all_alike(1e-4),
        of_excused=all_alike(0.01),
        excused=("a/1",),
        iou_min=0.0,
        pick_flips=most_flips(16, 0.1),
    )
    assert disagreement(noise, LIMITS) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("value", [1.1e-4, math.nan, math.inf])
def test_each_number_beyond_its_limit_is_wrong(kind: str, quantile: str, value: float) -> None:
    reason = disagreement(agreement(differences=beyond(kind, quantile, value)), LIMITS)
    assert reason is not None
    assert "sequential" in reason
    assert f"{value:.1e}" in reason
    assert "1.0e-04" in reason


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"misfit": "they are of objects [2, 1]"}, "[2, 1]"),
        ({"not_empty": 3}, "3 masks of a closed gate"),
        ({"gate_flips": 9}, "9 gate flips"),
        ({"pick_flips": 9}, "9 best-of-3 flips"),
        ({"compared_iou_min": 0.0}, "shares no pixel"),
        ({"of_excused": all_alike(0.02), "excused": ("a/1",)}, "2.0e-02"),
    ],
    ids=str,
)
def test_so_is_what_no_noise_makes(changes: dict[str, Any], told: str) -> None:
    reason = disagreement(agreement(**changes), LIMITS)
    assert reason is not None
    assert told in reason
    assert "sequential" in reason


def test_limits_are_a_few_times_the_floor() -> None:
    limits = Limits.above(floor())
    for kind in KINDS:
        found = getattr(limits.differences, kind)
        assert found.median == found.high == found.object == pytest.approx(TIMES["bf16"] * 0.02)
        assert found.largest == pytest.approx(TIMES_LARGEST["bf16"] * 0.02)
        assert getattr(limits.ties, kind).largest >= found.largest


def test_a_sample_that_shows_no_difference_leaves_room_for_one_step_of_rounding() -> None:
    limits = Limits.above(floor(fine=all_alike(0.0), largest_score=16.0, largest_iou=0.5))
    step = ROUNDOFF["bf16"]
    assert limits.differences.logits.median == TIMES["bf16"] * step
    assert limits.differences.scores.median == TIMES["bf16"] * step * 16
    assert limits.differences.ious.median == TIMES["bf16"] * step * 0.5


def test_a_sample_that_shows_no_object_leaves_logits_the_noise_of_scores() -> None:
    """Its masks are all empty, while other pictures may show objects, whose logits are no more exact than scores."""
    fine = replace(all_alike(0.02), logits=all_alike(0.0).logits)
    nothing_shown = floor(fine=fine, largest_score=0.5)
    limits = Limits.above(nothing_shown).differences
    assert limits.logits == Limits.above(floor(fine=replace(fine, logits=all_alike(0.04).logits))).differences.logits
    assert limits.scores == Limits.above(floor(largest_score=0.5)).differences.scores


def test_masks_that_are_not_finite_are_wrong_also_where_those_of_sequential_are_not() -> None:
    boundless = Limits.above(floor(fine=all_alike(math.inf), coarse=all_alike(math.inf)))
    assert disagreement(agreement(differences=all_alike(math.inf)), boundless) is not None


def test_so_many_flips_as_noise_hardly_ever_makes_are_too_many() -> None:
    limits = Limits.above(floor(gate_flips=0, pairs=100))
    assert 0.03 < limits.gate_rate < 0.06, "99 % sure after none of 100"
    assert most_flips(1000, limits.gate_rate) < 100
    assert limits.gate_rate < limits.pick_rate


counts = st.integers(1, 5000)


@many
@given(pairs=counts, rate=st.floats(0, 1))
@example(pairs=5000, rate=0.0)
@example(pairs=5000, rate=1.0)
@example(pairs=1, rate=5e-324)
@example(pairs=1, rate=1 - 1e-16)
def test_the_most_flips_are_the_quantile_of_scipys_binomial_distribution(pairs: int, rate: float) -> None:
    assert most_flips(pairs, rate) == binom.ppf(LUCK, pairs, rate)


@many
@given(pairs=counts, exponent=st.floats(-6, 0))
def test_so_they_are_at_small_rates(pairs: int, exponent: float) -> None:
    assert most_flips(pairs, 10**exponent) == binom.ppf(LUCK, pairs, 10**exponent)


@many
@given(pairs=counts, data=st.data())
def test_the_highest_rate_is_that_of_scipys_exact_interval(pairs: int, data: st.DataObject) -> None:
    flips = data.draw(st.integers(0, pairs) | st.integers(0, min(3, pairs)) | st.just(pairs))
    interval = binomtest(flips, pairs, alternative="less").proportion_ci(CONFIDENCE)
    assert highest_rate(flips, pairs) == pytest.approx(interval.high, rel=1e-9, abs=1e-11)


def test_the_number_nearest_to_its_limit_comes_first() -> None:
    listed = measures(beyond("scores", "high", 5e-5), LIMITS.differences)
    assert (listed[0].kind, listed[0].quantile, listed[0].share) == ("scores", "high", pytest.approx(0.5))
    assert len(listed) == len(fields(Differences)) * len(fields(Distances))


def test_the_rarest_fault_shows_in_19_of_20_runs() -> None:
    assert (1 - rarest_fault(100)) ** 100 == pytest.approx(0.05)
    assert rarest_fault(100) == pytest.approx(3 / 100, rel=0.02)
