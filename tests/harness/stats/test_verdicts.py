"""What an interval of a speed-up allows to conclude, and which rounds are outliers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.speedup import (
    SpeedUp,
    Verdict,
    outliers,
    verdict,
)
from tests.support.rounds import (
    quick,
)


@pytest.mark.parametrize(
    ("lo", "hi", "band", "expected"),
    [
        (1.2, 1.4, 0.02, "faster"),
        (0.6, 0.8, 0.02, "slower"),
        (0.99, 1.01, 0.02, "same"),
        (0.9, 1.1, 0.02, "unclear"),
        (0.99, 1.1, 0.02, "unclear"),
        (0.9, 1.01, 0.02, "unclear"),
        (1.005, 1.015, 0.02, "same"),  # It is certainly faster, but by less than matters.
        (1.01, 1.03, 0.02, "faster"),
        (0.97, 0.99, 0.02, "slower"),
        (1 / 1.25, 1.25, 0.25, "same"),  # The band's ends belong to it.
        (1 / 1.25, 1.2500001, 0.25, "unclear"),
        (0.7999999, 1.25, 0.25, "unclear"),
        (1.0, 1.3, 0.25, "unclear"),  # Exactly 1 is not faster.
        (0.7, 1.0, 0.25, "unclear"),
        (1.0, 1.0, 0.0, "same"),
        (1.0, 1.0000001, 0.0, "unclear"),
        (1.0000001, 1.0000002, 0.0, "faster"),
        (0.9999998, 0.9999999, 0.0, "slower"),
    ],
)
def test_the_verdict_follows_from_the_whole_interval(lo: float, hi: float, band: float, expected: Verdict) -> None:
    assert verdict(SpeedUp(ratio=math.sqrt(lo * hi), lo=lo, hi=hi, rounds=8), band=band) == expected


def test_without_an_interval_nothing_is_clear() -> None:
    assert verdict(SpeedUp(ratio=5.0, lo=None, hi=None, rounds=1), band=0.02) == "unclear"


@pytest.mark.parametrize("band", [-0.01, math.nan, math.inf])
def test_a_band_below_zero_or_not_finite_is_refused(band: float) -> None:
    with pytest.raises(ValueError, match="band"):
        verdict(SpeedUp(ratio=1.0, lo=0.9, hi=1.1, rounds=8), band=band)


@quick
@given(lo=st.floats(0.5, 2), factor=st.floats(1, 2), band=st.floats(0, 0.5))
def test_swapping_the_sides_swaps_faster_and_slower(lo: float, factor: float, band: float) -> None:
    hi = lo * factor
    swapped = {"faster": "slower", "slower": "faster", "same": "same", "unclear": "unclear"}
    forth = verdict(SpeedUp(ratio=lo, lo=lo, hi=hi, rounds=8), band=band)
    # A little more room: an end that lies on the band's may be rounded to the other side of it.
    back = verdict(SpeedUp(ratio=1 / lo, lo=1 / hi, hi=1 / lo, rounds=8), band=band * (1 + 1e-9) + 1e-12)
    assert back == swapped[forth] or back == "same"


# --- outliers --------------------------------------------------------------------------------------------------------


def test_a_round_far_from_the_others_is_labelled_where_it_stands() -> None:
    assert outliers([0.10, 0.11, 0.90, 0.09, 0.10, 0.12]) == [False, False, True, False, False, False]


def test_outliers_are_further_than_three_and_a_half_scaled_deviations_away() -> None:
    limit = 3.5 * 1.4826  # The median of these five is 0, and that of their distances from it is 1.
    assert outliers([-1.0, -1.0, 0.0, 1.0, limit - 1e-6])[-1] is False
    assert outliers([-1.0, -1.0, 0.0, 1.0, limit + 1e-6])[-1] is True


def test_where_most_rounds_are_equal_one_odd_round_of_five_is_an_outlier() -> None:
    assert outliers([0.5, 0.5, 0.5, 0.5, 0.6]) == [False, False, False, False, True]
    assert outliers([0.5, 0.5, 0.6]) == [False, False, False], "there are too few rounds to call one an outlier"


@quick
@given(value=st.floats(-5, 5), count=st.integers(1, 10))
def test_equal_rounds_have_no_outlier(value: float, count: int) -> None:
    assert outliers([value] * count) == [False] * count


@quick
@given(rounds=st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=12))
def test_labels_are_one_for_each_round_and_the_same_for_swapped_sides(rounds: list[float]) -> None:
    labels = outliers(rounds)
    assert len(labels) == len(rounds)
    assert sum(labels) <= len(rounds) / 2
    assert outliers([-value for value in rounds]) == labels


def test_outliers_refuse_what_is_empty_or_not_finite() -> None:
    with pytest.raises(ValueError, match="at least one"):
        outliers([])
    with pytest.raises(ValueError, match="finite"):
        outliers([0.1, math.nan])
