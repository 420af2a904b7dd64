"""Quotients and differences of two measurements with their intervals, and what may be concluded from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.interval import Interval, difference, judge, quotient

quick = settings(deadline=None, derandomize=True, max_examples=100)
SHARES = st.floats(0.01, 0.5)


def around(value: float, *, down: float, up: float) -> Interval:
    return Interval(value=value, lo=value * (1 - down), hi=value * (1 + up))


INTERVALS = st.builds(around, st.floats(0.1, 50), down=SHARES, up=SHARES)


@pytest.mark.parametrize(("lo", "value", "hi"), [(2, 1, 3), (0, 4, 3), (math.nan, 1, 2), (0, 1, math.inf)])
def test_an_interval_has_its_value_between_finite_ends(lo: float, value: float, hi: float) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        Interval(lo=lo, value=value, hi=hi)


def test_exact_values_have_exact_quotients_and_differences() -> None:
    for exact in (quotient(Interval.exact(3), Interval.exact(4)), difference(Interval.exact(3), Interval.exact(2.25))):
        assert (exact.value, exact.lo, exact.hi) == pytest.approx((0.75, 0.75, 0.75))


def test_margins_of_error_add_up_as_standard_errors_do() -> None:
    """On the log scale, 3 and 4 parts make 5."""
    new = Interval(value=2, lo=2 * math.exp(-0.03), hi=2 * math.exp(0.06))
    old = Interval(value=1, lo=math.exp(-0.08), hi=math.exp(0.04))
    ratio = quotient(new, old)
    assert (math.log(ratio.lo / 2), math.log(ratio.hi / 2)) == pytest.approx((-0.05, 0.1))
    gap = difference(Interval(value=7, lo=4, hi=13), Interval(value=2, lo=-6, hi=6))
    assert (gap.value, gap.lo, gap.hi) == (5, 0, 15)


@quick
@given(new=INTERVALS, old=INTERVALS)
def test_the_way_back_is_the_inverse(new: Interval, old: Interval) -> None:
    there, back = quotient(new, old), quotient(old, new)
    assert (there.value * back.value, there.lo * back.hi, there.hi * back.lo) == pytest.approx((1, 1, 1))


def test_a_quotient_needs_positive_ends() -> None:
    with pytest.raises(ValueError, match="positive"):
        quotient(Interval(value=1, lo=0, hi=2), Interval.exact(1))


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    """The quotient is that of two independent 95 % intervals of normal noise of different sizes."""
    random = np.random.default_rng(0)
    draws = 4000
    covered = 0
    for a, b in random.normal(scale=[0.03, 0.05], size=(draws, 2)):
        new, old = (
            Interval(value=math.exp(middle), lo=math.exp(middle - 1.96 * error), hi=math.exp(middle + 1.96 * error))
            for middle, error in ((a, 0.03), (b, 0.05))
        )
        ratio = quotient(new, old)
        covered += ratio.lo <= 1 <= ratio.hi
    assert covered / draws == pytest.approx(0.95, abs=0.011)  # The tolerance is three standard errors.


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [
        (0.91, 0.99, "pass"),
        (0.91, 1.2, "pass"),
        (0.9, 0.95, "pass"),
        (0.89, 0.95, "unclear"),
        (0.5, 0.9, "unclear"),
        (0.5, 0.89, "regressed"),
    ],
)
def test_only_a_whole_interval_decides(lo: float, hi: float, expected: str) -> None:
    assert judge(Interval(value=(lo + hi) / 2, lo=lo, hi=hi), least=0.9) == expected


def test_what_is_exact_is_never_unclear() -> None:
    assert judge(Interval.exact(0.9), least=0.9) == "pass"
    assert judge(Interval.exact(0.8999), least=0.9) == "regressed"
