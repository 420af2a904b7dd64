"""Ratios of paired rounds, their intervals, and what may be concluded from them; on noise that the tests draw."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.speedup import (
    SpeedUp,
    Verdict,
    estimate,
    estimate_over_processes,
    log_ratio,
    outliers,
    verdict,
)

quick = settings(deadline=None, derandomize=True, max_examples=60)

SIMULATIONS = 500
NOISE = 0.02
"""Standard deviation of a block's log-time in simulated rounds."""

Noise = Literal["normal", "laplace", "outliers"]
NOISES: list[Noise] = ["normal", "laplace", "outliers"]


def groups_of(rounds: st.SearchStrategy[list[float]]) -> st.SearchStrategy[tuple[list[list[float]], list[float]]]:
    """Draw up to 4 groups of rounds, and as many weights that differ."""
    weights = st.lists(st.integers(1, 50).map(float), min_size=4, max_size=4, unique=True)
    return st.tuples(st.lists(rounds, min_size=1, max_size=4), weights).map(
        lambda both: (both[0], both[1][: len(both[0])])
    )


GROUPS = groups_of(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
MEASURED = groups_of(st.lists(st.floats(-2, 2), min_size=2, max_size=8))
"""Groups that have an interval."""


def numbers(speedup: SpeedUp) -> tuple[float, float, float]:
    """Return the lower end, ratio and upper end of a speed-up that has an interval."""
    assert speedup.lo is not None
    assert speedup.hi is not None
    return speedup.lo, speedup.ratio, speedup.hi


def simulated(noise: Noise, *, groups: int, rounds: int) -> npt.NDArray[np.float64]:
    """Draw log-ratios ``[simulation, group, round]`` of a strategy against itself, whose true value is 0."""
    random = np.random.default_rng(7)
    shape = (SIMULATIONS, groups, rounds)
    if noise == "normal":
        return random.normal(scale=NOISE, size=shape)
    if noise == "laplace":
        return random.laplace(scale=NOISE, size=shape)
    scale = NOISE * np.where(random.random(shape) < 0.1, 10, 1)  # One round in ten is ten times noisier.
    blocks = np.exp(scale * random.normal(size=(4, *shape)))
    return np.log((blocks[0] + blocks[3]) / (blocks[1] + blocks[2]))


@cache
def against_itself(noise: Noise, *, groups: int, rounds: int) -> list[SpeedUp]:
    return [estimate(sample.tolist(), [1.0] * groups) for sample in simulated(noise, groups=groups, rounds=rounds)]


# --- one round -----------------------------------------------------------------------------------------------------


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


# --- the estimate: known cases -------------------------------------------------------------------------------------


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


# --- the estimate: what always holds -------------------------------------------------------------------------------


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


# --- the estimate: how often it is right ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("groups", "rounds"), [(1, 2), (1, 3), (1, 5), (1, 7), (1, 8), (2, 2), (2, 4)])
def test_the_interval_covers_the_truth_nine_times_in_ten_and_more(noise: Noise, groups: int, rounds: int) -> None:
    speedups = against_itself(noise, groups=groups, rounds=rounds)
    covered = np.mean([lo <= 1 <= hi for lo, _, hi in map(numbers, speedups)])
    binomial_error = math.sqrt(0.9 * 0.1 / SIMULATIONS)  # This is 0.013.
    assert covered >= 0.9 - binomial_error


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("groups", "rounds"), [(1, 5), (1, 8), (2, 4)])
def test_a_strategy_against_itself_is_called_faster_or_slower_less_than_one_time_in_ten(
    noise: Noise, groups: int, rounds: int
) -> None:
    verdicts = [verdict(speedup, band=0.01) for speedup in against_itself(noise, groups=groups, rounds=rounds)]
    assert np.mean([said in ("faster", "slower") for said in verdicts]) < 0.1


def test_a_candidate_twice_as_fast_is_found_faster_despite_noise() -> None:
    samples = simulated("normal", groups=2, rounds=4) + math.log(2)
    assert all(verdict(estimate(sample.tolist(), [1.0, 1.0]), band=0.02) == "faster" for sample in samples)


# --- verdicts ------------------------------------------------------------------------------------------------------


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


# --- outliers ------------------------------------------------------------------------------------------------------


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


# --- several processes ---------------------------------------------------------------------------------------------

SCATTER = 0.02
"""Standard deviation of what a process adds to all of its rounds, as large as that of a round."""


def of_processes(*, processes: int, rounds: int, scatter: float, seed: int = 11) -> npt.NDArray[np.float64]:
    """Draw log-ratios ``[simulation, process, round]`` whose true value is 0."""
    random = np.random.default_rng(seed)
    shared = random.normal(scale=scatter, size=(SIMULATIONS, processes, 1))
    return shared + random.normal(scale=NOISE, size=(SIMULATIONS, processes, rounds))


def coverage(speedups: list[SpeedUp]) -> float:
    ends = [numbers(one) for one in speedups]
    return float(np.mean([lo <= 1 <= hi for lo, _, hi in ends]))


def of_two_levels(sample: npt.NDArray[np.float64]) -> SpeedUp:
    return estimate_over_processes(sample[:, None, :].tolist(), [1.0])


def pooled(sample: npt.NDArray[np.float64]) -> SpeedUp:
    """As if one process had timed all rounds."""
    return estimate([sample.ravel().tolist()], [1.0])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 6])
def test_where_processes_differ_the_interval_covers_and_that_of_pooled_rounds_does_not(processes: int) -> None:
    samples = of_processes(processes=processes, rounds=6, scatter=SCATTER)
    assert coverage([of_two_levels(sample) for sample in samples]) >= 0.93
    assert coverage([pooled(sample) for sample in samples]) < 0.85


@pytest.mark.slow
def test_more_rounds_do_not_narrow_what_differs_between_processes_and_more_processes_do() -> None:
    def median_width(processes: int, rounds: int) -> float:
        samples = of_processes(processes=processes, rounds=rounds, scatter=SCATTER)[:150]
        return float(np.median([of_two_levels(sample).width for sample in samples]))  # type: ignore[misc]

    assert median_width(3, 40) > 0.7 * median_width(3, 6)
    assert median_width(6, 6) < 0.6 * median_width(3, 6)


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
