"""What is timed, what is not, and how long it goes on; on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import TimingConfig
from harness.timing import Sample, device_clock, frames_per_second, timed_passes, timed_repeats

quick = settings(deadline=None, derandomize=True, max_examples=60)


class Bench:
    """A group of targets whose predictions take the given seconds, one after the other, and the last for ever on."""

    def __init__(self, costs: Iterable[float] = (), *, load: float = 0.0, check: float = 0.0) -> None:
        listed = list(costs) or [1.0]
        self.now = 100.0
        self.loaded: list[slice] = []
        self.checked: list[tuple[slice, str]] = []
        self._costs: Iterator[float] = chain(listed, repeat(listed[-1]))
        self._load_seconds, self._check_seconds = load, check

    def clock(self) -> float:
        return self.now

    def load(self, chosen: slice) -> slice:
        self.loaded.append(chosen)
        self.now += self._load_seconds
        return chosen

    def predict(self, chosen: slice) -> str:
        self.now += next(self._costs)
        return f"{chosen.start}:{chosen.stop}"

    def check(self, chosen: slice, output: str) -> None:
        self.checked.append((chosen, output))
        self.now += self._check_seconds

    def measure(
        self,
        *,
        targets: int = 5,
        batch: int = 2,
        min_seconds: float = 0.0,
        min_passes: int = 1,
        max_seconds: float = 1e9,
    ) -> list[Sample]:
        return timed_passes(
            group="bees",
            targets=targets,
            batch=batch,
            load=self.load,
            predict=self.predict,
            check=self.check,
            clock=self.clock,
            options=TimingConfig(min_seconds=min_seconds, min_passes=min_passes, max_seconds=max_seconds),
        )


def passes_of(samples: list[Sample]) -> int:
    return len({sample.pass_number for sample in samples})


# --- one sample ----------------------------------------------------------------------------------------------------


def test_only_predicting_is_timed_not_loading_nor_checking() -> None:
    bench = Bench([0.25], load=1000, check=3000)
    assert {sample.seconds for sample in bench.measure(min_passes=2)} == {0.25}


def test_every_sample_has_the_seconds_of_its_own_call() -> None:
    warm_up = [9.0, 9.0, 9.0]
    samples = Bench([*warm_up, 1, 2, 3, 4, 5, 6]).measure(targets=5, batch=2, min_passes=2)
    assert [sample.seconds for sample in samples] == [1, 2, 3, 4, 5, 6]
    assert [sample.pass_number for sample in samples] == [0, 0, 0, 1, 1, 1]
    assert {sample.group for sample in samples} == {"bees"}


def test_the_last_batch_holds_what_is_left() -> None:
    samples = Bench().measure(targets=5, batch=2)
    assert [(sample.first, sample.targets) for sample in samples] == [(0, 2), (2, 2), (4, 1)]


def test_a_batch_larger_than_the_group_holds_the_group() -> None:
    samples = Bench().measure(targets=3, batch=64)
    assert [(sample.first, sample.targets) for sample in samples] == [(0, 3)]


def test_the_warm_up_pass_is_checked_but_leaves_no_sample() -> None:
    bench = Bench([50.0, 50.0, 50.0, 1.0])
    samples = bench.measure(targets=5, batch=2, min_passes=1)
    assert [sample.seconds for sample in samples] == [1.0, 1.0, 1.0]
    one_pass = [(slice(0, 2), "0:2"), (slice(2, 4), "2:4"), (slice(4, 5), "4:5")]
    assert bench.checked == one_pass * 2, "each output went to its own targets, in the warm-up too"


@quick
@given(targets=st.integers(1, 40), batch=st.integers(1, 50), passes=st.integers(1, 4))
def test_a_pass_takes_every_target_once_in_order(targets: int, batch: int, passes: int) -> None:
    bench = Bench()
    samples = bench.measure(targets=targets, batch=batch, min_passes=passes)
    everything = list(range(targets))
    for number in range(passes):
        taken = [sample for sample in samples if sample.pass_number == number]
        covered = [index for sample in taken for index in range(sample.first, sample.first + sample.targets)]
        assert covered == everything
        assert max(sample.targets for sample in taken) <= batch
    loaded = [index for chosen in bench.loaded for index in range(chosen.start, chosen.stop)]
    assert loaded == everything * (passes + 1)


# --- how long ------------------------------------------------------------------------------------------------------


def test_passes_go_on_to_the_least_number() -> None:
    assert passes_of(Bench([1.0]).measure(min_passes=4, min_seconds=0)) == 4


def test_passes_go_on_to_the_least_time() -> None:
    bench = Bench([0.5])
    samples = bench.measure(targets=4, batch=2, min_passes=1, min_seconds=2.5)  # a pass takes 1 s
    assert passes_of(samples) == 3


def test_loading_does_not_count_towards_the_least_time() -> None:
    bench = Bench([0.5], load=100, check=100)
    assert passes_of(bench.measure(targets=4, batch=2, min_passes=1, min_seconds=2.5)) == 3


def test_both_minima_must_be_reached() -> None:
    assert passes_of(Bench([10.0]).measure(min_passes=3, min_seconds=5)) == 3
    assert passes_of(Bench([1.0]).measure(targets=1, min_passes=3, min_seconds=5)) == 5


def test_no_pass_begins_after_the_most_time_and_a_begun_one_is_finished() -> None:
    samples = Bench([2.0]).measure(targets=2, batch=1, min_passes=100, max_seconds=9)  # a pass takes 4 s
    assert [sample.pass_number for sample in samples] == [0, 0, 1, 1, 2, 2]


def test_the_most_time_counts_loading_and_checking_too() -> None:
    samples = Bench([1.0], load=4, check=4).measure(targets=1, min_passes=100, max_seconds=20)
    assert passes_of(samples) == 3


def test_however_slow_one_pass_is_measured() -> None:
    assert passes_of(Bench([1000.0]).measure(min_passes=3, max_seconds=1)) == 1


def test_a_strategy_that_fails_is_heard() -> None:
    class Broken(Bench):
        def predict(self, chosen: slice) -> str:
            raise ZeroDivisionError("no such thing")

    with pytest.raises(ZeroDivisionError, match="no such thing"):
        Broken().measure()


def test_a_cpu_clock_goes_forward() -> None:
    clock = device_clock(torch.device("cpu"))
    first = clock()
    assert clock() >= first


# --- frames per second ---------------------------------------------------------------------------------------------


def samples_of(passes: list[list[float]], *, batch: int = 2, group: str = "bees") -> list[Sample]:
    """Passes of full batches that took the given seconds."""
    return [
        Sample(group=group, pass_number=number, first=at * batch, targets=batch, seconds=seconds)
        for number, calls in enumerate(passes)
        for at, seconds in enumerate(calls)
    ]


def test_frames_per_second_of_one_pass() -> None:
    assert frames_per_second(samples_of([[0.5, 1.5]], batch=3)) == pytest.approx(3.0)


def test_the_median_pass_counts() -> None:
    assert frames_per_second(samples_of([[4.0], [2.0], [1.0]])) == pytest.approx(1.0)
    assert frames_per_second(samples_of([[4.0], [2.0]])) == pytest.approx(2 / 3)


def test_groups_add_up_their_targets_and_their_time() -> None:
    bees = samples_of([[1.0], [1.0]], batch=4, group="bees")
    ants = samples_of([[3.0], [3.0], [3.0]], batch=2, group="ants")
    assert frames_per_second(bees + ants) == pytest.approx((4 + 2) / (1 + 3))


TIMES = st.lists(st.lists(st.floats(1e-4, 1e3), min_size=2, max_size=2), min_size=1, max_size=6)


@quick
@given(passes=TIMES, factor=st.floats(1e-3, 1e3))
def test_a_machine_so_many_times_slower_has_so_many_times_fewer_frames_per_second(
    passes: list[list[float]], factor: float
) -> None:
    slower = [[seconds * factor for seconds in calls] for calls in passes]
    assert frames_per_second(samples_of(slower)) == pytest.approx(frames_per_second(samples_of(passes)) / factor)


@quick
@given(steady=st.floats(1e-3, 10), outlier=st.floats(1, 1e4), place=st.integers(0, 2))
def test_one_slow_pass_of_three_changes_nothing(steady: float, outlier: float, place: int) -> None:
    passes = [[steady, steady] for _ in range(3)]
    expected = frames_per_second(samples_of(passes))
    passes[place] = [steady * outlier, steady]
    assert frames_per_second(samples_of(passes)) == pytest.approx(expected)


@quick
@given(passes=TIMES)
def test_the_order_of_the_passes_does_not_matter(passes: list[list[float]]) -> None:
    assert frames_per_second(samples_of(passes[::-1])) == pytest.approx(frames_per_second(samples_of(passes)))


def test_repeats_are_as_many_as_passes_but_for_the_time_they_may_take() -> None:
    ticks = iter(float(tick) for tick in range(100))
    options = TimingConfig(min_passes=3, min_seconds=0, max_seconds=20)
    assert timed_repeats(lambda: None, clock=lambda: next(ticks), options=options) == [1, 1, 1]
    short = TimingConfig(min_passes=30, min_seconds=0, max_seconds=2)
    assert timed_repeats(lambda: None, clock=lambda: next(ticks), options=short) == [1, 1]
