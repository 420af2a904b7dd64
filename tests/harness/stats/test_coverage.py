"""How often an interval of a speed-up is right, on noise that the tests draw."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from harness.stats.speedup import (
    SpeedUp,
    estimate,
    estimate_over_processes,
    verdict,
)
from tests.support.rounds import (
    NOISE,
    NOISES,
    SIMULATIONS,
    Noise,
    numbers,
    simulated,
)


@cache
def against_itself(noise: Noise, *, groups: int, rounds: int) -> list[SpeedUp]:
    return [estimate(sample.tolist(), [1.0] * groups) for sample in simulated(noise, groups=groups, rounds=rounds)]


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


# --- several processes ---------------------------------------------------------------------------------------------

OF_PROCESSES = 250
"""Simulations, each of several estimates; what is tried is further from its limits than with one process."""
SCATTER = 0.02
"""Standard deviation of what a process adds to all of its rounds, as large as that of a round."""


def of_processes(*, processes: int, rounds: int, scatter: float, seed: int = 11) -> npt.NDArray[np.float64]:
    """Draw log-ratios ``[simulation, process, round]`` whose true value is 0."""
    random = np.random.default_rng(seed)
    shared = random.normal(scale=scatter, size=(OF_PROCESSES, processes, 1))
    return shared + random.normal(scale=NOISE, size=(OF_PROCESSES, processes, rounds))


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
