"""Ratios of paired rounds and their intervals: known cases, and what always holds."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.speedup import (
    SpeedUp,
    estimate,
    estimate_over_processes,
    log_ratio,
)
from tests.support.rounds import (
    GROUPS,
    MEASURED,
    groups_of,
    numbers,
    quick,
    simulated,
)

# --- one round -------------------------------------------------------------------------------------------------------


def test_the_log_ratio_is_of_the_sums_and_positive_where_the_candidate_is_faster() -> None:
    assert log_ratio([3.0, 5.0], [1.0, 3.0]) == pytest.approx(math.log(2))
    assert log_ratio([1.0, 3.0], [3.0, 5.0]) == pytest.approx(-math.log(2))


@quick
@given(baseline=st.floats(0.01, 10), candidate=st.floats(0.01, 10), slope=st.floats(0, 1))
def test_a_machine_that_slows_down_steadily_changes_no_round(baseline: float, candidate: float, slope: float) -> None:
    a1, b1, b2, a2 = (
        seconds * (1 + slope * place) for place, seconds in enumerate([baseline, candidate, candidate, baseline])
    )
    assert log_ratio([a1, a2], [b1, b2]) == pytest.approx(math.log(baseline / candidate))


@quick
@given(rate=st.floats(0, 0.5))
def test_of_drift_that_is_not_steady_only_the_second_order_is_left(rate: float) -> None:
    a1, b1, b2, a2 = (math.exp(rate * place) for place in range(4))
    assert abs(log_ratio([a1, a2], [b1, b2])) <= 1.01 * rate**2 + 1e-12


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_not_positive_and_finite_is_refused_on_either_side(bad: float) -> None:
    with pytest.raises(ValueError, match="times"):
        log_ratio([1.0, bad], [1.0, 1.0])
    with pytest.raises(ValueError, match="times"):
        log_ratio([1.0, 1.0], [bad, 1.0])


def test_a_round_needs_blocks_and_as_many_on_both_sides() -> None:
    with pytest.raises(ValueError, match="as many blocks on both sides, not 2 and 1"):
        log_ratio([1.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="at least one"):
        log_ratio([], [])


# --- the estimate: known cases ---------------------------------------------------------------------------------------


def test_the_ratio_is_the_weighted_mean_of_the_groups_medians_on_the_log_scale() -> None:
    speedup = estimate([[0.0, 0.2, 0.9], [0.5, 0.7]], [3.0, 1.0])
    assert speedup.ratio == pytest.approx(math.exp(0.75 * 0.2 + 0.25 * 0.6))
    assert speedup.rounds == 5


@quick
@given(counts=st.lists(st.integers(2, 6), min_size=1, max_size=4), value=st.floats(-2, 2))
def test_constant_rounds_leave_no_doubt(counts: list[int], value: float) -> None:
    speedup = estimate([[value] * count for count in counts], [1.0 + index for index in range(len(counts))])
    assert numbers(speedup) == pytest.approx((math.exp(value),) * 3, rel=1e-12)
    assert speedup.width == pytest.approx(0, abs=1e-12)


@quick
@given(spike=st.floats(-10, 10), count=st.integers(3, 12))
def test_one_spoilt_round_moves_the_ratio_no_further_than_the_next_round(spike: float, count: int) -> None:
    steady = np.linspace(0.30, 0.31, count).tolist()
    assert 0.30 <= math.log(estimate([[*steady, spike]], [1.0]).ratio) <= 0.31


def test_a_group_with_one_round_leaves_a_ratio_but_no_interval() -> None:
    speedup = estimate([[0.5, 0.5, 0.5], [0.1]], [1.0, 1.0])
    assert speedup == SpeedUp(ratio=speedup.ratio, lo=None, hi=None, rounds=4)
    assert speedup.ratio == pytest.approx(math.exp(0.3))
    assert speedup.width is None


def test_the_width_is_relative_to_the_lower_end() -> None:
    assert SpeedUp(ratio=2.2, lo=2.0, hi=2.5, rounds=4).width == pytest.approx(0.25)


def test_more_rounds_of_the_same_noise_narrow_the_interval() -> None:
    def mean_width(rounds: int) -> float:
        widths = [
            estimate(sample.tolist(), [1.0]).width for sample in simulated("normal", groups=1, rounds=rounds)[:100]
        ]
        return float(np.mean([width for width in widths if width is not None]))

    assert all(more < fewer for fewer, more in pairwise(mean_width(rounds) for rounds in (5, 6, 7, 8, 12, 20)))


@pytest.mark.parametrize(
    ("log_ratios", "weights", "reason"),
    [
        ([], [], "weights must be finite, and at least one"),
        ([[0.1], []], [1.0, 1.0], "log-ratios must be finite, and at least one"),
        ([[0.1, 0.2]], [1.0, 1.0], "1 groups but 2 weights"),
        ([[0.1, math.nan]], [1.0], "log-ratios"),
        ([[0.1, math.inf]], [1.0], "log-ratios"),
        ([[0.1], [0.1]], [1.0, 0.0], "weights"),
        ([[0.1], [0.1]], [1.0, -1.0], "weights"),
        ([[0.1], [0.1]], [1.0, math.inf], "weights"),
        ([[0.1], [0.1]], [1.0, math.nan], "weights"),
    ],
)
def test_an_estimate_refuses_what_it_cannot_use(
    log_ratios: list[list[float]], weights: list[float], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        estimate(log_ratios, weights)


def test_a_bootstrap_without_draws_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 draws, not 1"):
        estimate([[0.1, 0.2]], [1.0], draws=1)


# --- the estimate: what always holds ---------------------------------------------------------------------------------


@quick
@given(measured=groups_of(st.lists(st.floats(-2, 2), min_size=5, max_size=8)))
def test_the_interval_of_enough_rounds_holds_the_ratio_and_stays_within_the_extremes(
    measured: tuple[list[list[float]], list[float]],
) -> None:
    log_ratios, weights = measured
    lo, ratio, hi = numbers(estimate(log_ratios, weights))
    least = math.exp(np.average([min(rounds) for rounds in log_ratios], weights=weights))
    most = math.exp(np.average([max(rounds) for rounds in log_ratios], weights=weights))
    assert least * (1 - 1e-9) <= lo <= ratio <= hi <= most * (1 + 1e-9)


def test_of_few_rounds_the_interval_is_students() -> None:
    # The factors are t of one degree of freedom, the deviation, and the root of the count.
    half_width = 12.7062 * math.sqrt(0.5) / math.sqrt(2)
    lo, ratio, hi = numbers(estimate([[0.0, 1.0]], [1.0]))
    assert (lo, ratio, hi) == pytest.approx([math.exp(0.5 + by) for by in (-half_width, 0, half_width)], rel=1e-3)


@quick
@given(measured=MEASURED, slower=st.floats(-2, 2).map(math.exp))
def test_a_candidate_so_many_times_slower_has_everything_divided_by_that(
    measured: tuple[list[list[float]], list[float]], slower: float
) -> None:
    log_ratios, weights = measured
    shifted = [[value - math.log(slower) for value in rounds] for rounds in log_ratios]
    expected = [number / slower for number in numbers(estimate(log_ratios, weights))]
    assert numbers(estimate(shifted, weights)) == pytest.approx(expected, rel=1e-9)


@quick
@given(measured=MEASURED)
def test_swapping_the_sides_inverts_everything(measured: tuple[list[list[float]], list[float]]) -> None:
    log_ratios, weights = measured
    lo, ratio, hi = numbers(estimate(log_ratios, weights))
    swapped = estimate([[-value for value in rounds] for rounds in log_ratios], weights)
    assert numbers(swapped) == pytest.approx((1 / hi, 1 / ratio, 1 / lo), rel=1e-9)


@quick
@given(measured=GROUPS, random=st.randoms(use_true_random=False))
def test_neither_the_order_of_the_groups_nor_that_of_their_rounds_matters(
    measured: tuple[list[list[float]], list[float]], random: Random
) -> None:
    log_ratios, weights = measured
    pairs = [(random.sample(rounds, len(rounds)), weight) for rounds, weight in zip(log_ratios, weights, strict=True)]
    random.shuffle(pairs)
    assert estimate([rounds for rounds, _ in pairs], [weight for _, weight in pairs]) == estimate(log_ratios, weights)


@quick
@given(seed=st.integers(0, 10**6), groups=st.integers(2, 4), rounds=st.integers(2, 8))
def test_the_order_of_groups_with_equal_weights_does_not_matter_either(seed: int, groups: int, rounds: int) -> None:
    log_ratios = np.random.default_rng(seed).normal(size=(groups, rounds)).tolist()
    assert estimate(log_ratios[::-1], [1.0] * groups) == estimate(log_ratios, [1.0] * groups)


@quick
@given(measured=MEASURED, factor=st.floats(1e-6, 1e6))
def test_the_scale_of_the_weights_does_not_matter(
    measured: tuple[list[list[float]], list[float]], factor: float
) -> None:
    log_ratios, weights = measured
    scaled = estimate(log_ratios, [weight * factor for weight in weights])
    assert numbers(scaled) == pytest.approx(numbers(estimate(log_ratios, weights)), rel=1e-9)


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same() -> None:
    log_ratios, weights = simulated("normal", groups=2, rounds=8)[0].tolist(), [1.0, 2.0]
    first = estimate(log_ratios, weights, seed=3)
    assert estimate(log_ratios, weights, seed=3) == first
    another = estimate(log_ratios, weights, seed=4)
    assert another != first
    assert numbers(another) == pytest.approx(numbers(first), rel=0.1 * (first.width or 0))


# --- several processes -----------------------------------------------------------------------------------------------


@quick
@given(MEASURED, st.integers(0, 5))
def test_one_process_has_the_interval_of_its_rounds_to_the_bit(
    measured: tuple[list[list[float]], list[float]], seed: int
) -> None:
    log_ratios, weights = measured
    assert estimate_over_processes([log_ratios], weights, seed=seed) == estimate(log_ratios, weights, seed=seed)


@quick
@given(seed=st.integers(0, 1000), count=st.integers(2, 5), groups=st.integers(1, 3))
def test_the_order_of_processes_and_groups_does_not_matter_and_swapping_the_sides_inverts(
    seed: int, count: int, groups: int
) -> None:
    log_ratios = np.random.default_rng(seed).normal(size=(count, groups, 5))
    weights = [1.0 + index for index in range(groups)]
    lo, ratio, hi = numbers(estimate_over_processes(log_ratios.tolist(), weights))
    assert lo <= ratio <= hi
    assert numbers(estimate_over_processes(log_ratios[::-1].tolist(), weights)) == pytest.approx((lo, ratio, hi))
    other_groups = estimate_over_processes(log_ratios[:, ::-1].tolist(), weights[::-1])
    assert numbers(other_groups) == pytest.approx((lo, ratio, hi))
    swapped = estimate_over_processes((-log_ratios).tolist(), weights)
    assert numbers(swapped) == pytest.approx((1 / hi, 1 / ratio, 1 / lo))


def test_processes_that_agree_leave_the_doubt_of_their_rounds() -> None:
    rounds = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    lo, ratio, hi = numbers(estimate_over_processes([[rounds]] * 4, [1.0]))
    assert ratio == pytest.approx(math.exp(0.35))
    assert lo < ratio < hi


def test_the_ratio_is_the_mean_of_the_processes_and_counts_all_rounds() -> None:
    speedup = estimate_over_processes([[[0.1, 0.1, 0.1]], [[0.3, 0.3]]], [1.0])
    assert speedup.ratio == pytest.approx(math.exp(0.2))
    assert speedup.rounds == 5


def test_no_process_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one process"):
        estimate_over_processes([], [])
