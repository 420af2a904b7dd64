from __future__ import annotations

import pytest

from harness.stats.best import Speed, best


def speed(fps: float, lo: float | None = None, *, baseline: str = "sequential", verdict: str = "faster") -> Speed:
    return Speed(fps=fps, baseline=baseline, lo=lo, hi=None if lo is None else 1.2 * lo, verdict=verdict)


def test_the_surest_of_the_fast_is_chosen_and_those_that_may_be_as_fast_are_told() -> None:
    found = best([speed(9.0, 3.0), speed(50.0, 3.5), speed(70.0, 1.0, verdict="unclear"), speed(1.0)])
    assert (found.at, found.paired, found.clear, found.similar) == (1, True, True, (0, 1))


@pytest.mark.parametrize("speeds", [[speed(3.0), speed(7.0)], [speed(3.0, 9.0), speed(7.0, 2.0, baseline="rebuild")]])
def test_without_one_baseline_the_most_targets_per_second_win(speeds: list[Speed]) -> None:
    found = best(speeds)
    assert (found.at, found.paired, found.clear) == (1, False, False)


def test_where_nothing_is_clearly_faster_that_is_said() -> None:
    found = best([speed(9.0, 0.9, verdict="unclear"), speed(8.0, 0.95, verdict="same")])
    assert (found.at, found.paired, found.clear) == (1, True, False)
