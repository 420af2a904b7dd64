"""Paired timing with strategies that only move a clock: order, inputs, when it stops, what counts."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.blocks import targets_per_block
from harness.measure.pairing import Pairing, Rounds, StopRule, warm_up
from harness.options.config import TimingConfig
from harness.result import Block
from harness.stats.speedup import BOOTSTRAP_ROUNDS

quick = settings(deadline=None, derandomize=True, max_examples=60)

ENDLESS = StopRule(min_seconds=0, min_rounds=10**9, width=0, max_seconds=0)
"""Lets the least number of rounds pass and no more."""


@dataclass(kw_only=True)
class Table:
    """A clock that only the sides move, and what happened on it."""

    now: float = 100.0
    cpu: float = 0.0
    events: list[str] = field(default_factory=list)
    slowing: float = 0.0
    """Share of its speed that the machine loses in each second."""

    def spend(self, seconds: float) -> None:
        spent = seconds * (1 + self.slowing * (self.now - 100))
        self.now += spent
        self.cpu += 2 * spent  # Two cores are busy.


@dataclass(kw_only=True)
class MockSide:
    """Takes the seconds that ``cost`` gives for its n-th block, and as many to get ready."""

    name: str
    table: Table
    cost: Callable[[int], float] = lambda _: 1.0
    setting_up: float = 0.0
    blocks: int = 0

    def ready(self) -> None:
        self.table.now += self.setting_up

    def run(self, inputs: int) -> tuple[str, int]:
        self.table.events.append(f"{self.name}{inputs}")
        self.table.spend(self.cost(self.blocks))
        self.blocks += 1
        return self.name, inputs


def pairing(
    table: Table,
    rule: StopRule,
    *,
    checking: float = 0.0,
    loading: float = 0.0,
    clock: Callable[[], float] | None = None,
) -> Pairing:
    def inputs(turn: int) -> int:
        table.now += loading
        table.events.append(f"inputs{turn}")
        return turn

    def check(turn: int, expected: tuple[str, int] | None, actual: tuple[str, int]) -> None:
        assert expected is None or expected[1] == turn, "the baseline's outputs are of other inputs"
        assert actual[1] == turn, "the candidate's outputs are of other inputs"
        table.now += checking
        table.events.append(f"check{turn}")

    return Pairing(
        group="bees",
        targets=5,
        inputs=inputs,
        check=check,
        clock=clock or (lambda: table.now),
        cpu_clock=lambda: table.cpu,
        rule=rule,
    )


def measure(
    *, a: Callable[[int], float] = lambda _: 1.0, b: Callable[[int], float] = lambda _: 1.0, rule: StopRule = ENDLESS
) -> Rounds:
    table = Table()
    sides = MockSide(name="A", table=table, cost=a), MockSide(name="B", table=table, cost=b)
    return pairing(table, rule).paired(*sides)


def rule(**changes: float) -> StopRule:
    return StopRule(**({"min_seconds": 0, "min_rounds": 1, "width": 1e9, "max_seconds": 1e9} | changes))  # type: ignore[arg-type]


# --- blocks --------------------------------------------------------------------------------------------------------


def test_a_round_is_baseline_candidate_candidate_baseline_and_each_pair_shares_inputs_of_its_own() -> None:
    table = Table()
    pairing(table, rule(min_rounds=2, width=1e9)).paired(
        MockSide(name="A", table=table), MockSide(name="B", table=table)
    )
    assert table.events == [
        *("inputs0", "A0", "B0", "check0", "inputs1", "B1", "A1", "check1"),
        *("inputs2", "A2", "B2", "check2", "inputs3", "B3", "A3", "check3"),
    ]


def test_nothing_of_a_turn_is_left_when_the_next_begins() -> None:
    """Else its sides find other memory than those of the turn before, and a strategy differs from itself."""
    made: list[weakref.ref[Made]] = []
    left: list[int] = []

    class Made:
        """Inputs of a turn, or outputs of a block."""

        def __init__(self) -> None:
            made.append(weakref.ref(self))

    class Maker(MockSide):
        def run(self, inputs: Any) -> Any:
            super().run(0)
            return Made()

    def inputs(_: int) -> Made:
        left.append(sum(one() is not None for one in made))
        return Made()

    table = Table()
    timed: Pairing[Any, Any] = Pairing(
        **{"group": "wings", "targets": 8, "inputs": inputs, "check": lambda *_: None, "rule": ENDLESS},
        **{"clock": lambda: table.now, "cpu_clock": lambda: table.cpu},
    )
    timed.paired(Maker(name="A", table=table), Maker(name="B", table=table))
    assert len(made) == 3 * len(left)
    assert set(left) == {0}


def test_only_running_is_timed_not_getting_ready_loading_nor_checking() -> None:
    table = Table()
    sides = (MockSide(name=name, table=table, setting_up=7.0) for name in "AB")
    rounds = pairing(table, ENDLESS, checking=30.0, loading=5.0).paired(*sides)
    assert [block.seconds for block in rounds.blocks] == pytest.approx([1] * 8)
    assert [block.cpu_seconds for block in rounds.blocks] == pytest.approx([2] * 8)


def test_a_core_that_waits_for_the_device_is_not_busy_for_the_strategy() -> None:
    """Torch waits for a GPU by asking again and again, for as long as the GPU is busy."""
    table = Table()

    def clock() -> float:
        table.cpu += 50.0
        return table.now

    rounds = pairing(table, ENDLESS, clock=clock).paired(*(MockSide(name=name, table=table) for name in "AB"))
    assert [block.cpu_seconds for block in rounds.blocks] == pytest.approx([2] * 8)


def test_every_block_is_kept_in_order_with_its_side_and_its_place() -> None:
    rounds = measure(a=lambda block: 1.0 + block, b=lambda block: 10.0 + block)
    expected = [("baseline", 0, 1.0), ("candidate", 1, 10.0), ("candidate", 2, 11.0), ("baseline", 3, 2.0)]
    assert rounds.blocks[:4] == [
        Block(group="bees", round=0, place=place, side=side, targets=5, seconds=seconds, cpu_seconds=2 * seconds)  # type: ignore[arg-type]
        for side, place, seconds in expected
    ]
    assert rounds.log_ratios[0] == pytest.approx(log(3 / 21))


@quick
@given(ratio=st.floats(0.1, 10), slowing=st.floats(-0.01, 0.01))
def test_a_machine_that_slowly_changes_its_speed_favours_neither_side(ratio: float, slowing: float) -> None:
    table = Table(slowing=slowing)
    baseline = MockSide(name="A", table=table, cost=lambda _: 0.1)
    candidate = MockSide(name="B", table=table, cost=lambda _: 0.1 / ratio)
    rounds = pairing(table, rule(min_rounds=4)).paired(baseline, candidate)
    for found in rounds.log_ratios:
        assert exp(found) == pytest.approx(ratio, rel=0.01)


def test_a_side_that_fails_is_heard() -> None:
    def fail(_: int) -> float:
        raise RuntimeError("out of cheese")

    with pytest.raises(RuntimeError, match="cheese"):
        measure(b=fail)


# --- alone ---------------------------------------------------------------------------------------------------------


def test_alone_each_block_has_inputs_of_its_own_and_there_is_no_ratio() -> None:
    table = Table()
    rounds = pairing(table, rule(min_rounds=3)).alone(MockSide(name="B", table=table))
    assert [event for event in table.events if "inputs" not in event] == [
        "B0",
        "check0",
        "B1",
        "check1",
        "B2",
        "check2",
    ]
    assert rounds.log_ratios == []
    assert rounds.converged


# --- when it is enough ---------------------------------------------------------------------------------------------


def rounds_of(found: Rounds) -> int:
    return len(found.blocks) // 4


def test_rounds_go_on_to_the_least_number() -> None:
    assert rounds_of(measure(rule=rule(min_rounds=7))) == 7


def test_rounds_go_on_to_the_least_time() -> None:
    found = measure(rule=rule(min_seconds=17))  # A round takes four seconds.
    assert rounds_of(found) == 5
    assert found.converged


def noisy(block: int) -> float:
    """Return 1 or 1.5 seconds, each in every other round."""
    return 1.5 if block // 2 % 2 else 1.0


def test_rounds_go_on_until_the_interval_is_narrow() -> None:
    found = measure(b=noisy, rule=rule(min_rounds=2, width=0.05, max_seconds=200))
    steady = measure(rule=rule(min_rounds=2, width=0.05, max_seconds=200))
    assert rounds_of(steady) == 2
    assert rounds_of(found) > 2


def test_time_that_is_over_ends_it_and_the_interval_is_said_not_to_have_converged() -> None:
    found = measure(b=noisy, rule=rule(width=0, max_seconds=42))
    assert not found.converged
    assert sum(block.seconds for block in found.blocks) <= 42, "no round begins that would end too late"


def test_however_slow_two_rounds_are_timed_because_one_has_no_interval() -> None:
    assert rounds_of(measure(a=lambda _: 1e6, rule=ENDLESS)) == 2


def test_alone_one_block_is_enough() -> None:
    table = Table()
    found = pairing(table, ENDLESS).alone(MockSide(name="B", table=table, cost=lambda _: 1e6))
    assert len(found.blocks) == 1


@quick
@given(seconds=st.floats(0.01, 2), least=st.integers(1, 6), most=st.floats(1, 60), seconds_least=st.floats(0, 30))
def test_it_never_takes_longer_than_it_may_but_for_the_first_two_rounds(
    seconds: float, least: int, most: float, seconds_least: float
) -> None:
    chosen = rule(min_rounds=least, max_seconds=most, min_seconds=seconds_least)
    found = measure(a=lambda _: seconds, b=lambda _: seconds, rule=chosen)
    took = sum(block.seconds for block in found.blocks)
    assert rounds_of(found) <= 2 or took <= most * (1 + 1e-9)
    assert not found.converged or (rounds_of(found) >= least and took >= seconds_least * (1 - 1e-9))


def test_groups_share_time_and_rounds_and_each_has_enough_rounds_for_an_interval() -> None:
    options = TimingConfig(min_seconds=8, min_rounds=6, width=0.1, max_seconds=40)
    alone, four = StopRule.for_each_of(1, options), StopRule.for_each_of(4, options)
    assert (alone.min_seconds, alone.min_rounds, alone.width, alone.max_seconds) == (8, 6, 0.1, 40)
    assert (four.min_seconds, four.min_rounds, four.width, four.max_seconds) == (2, BOOTSTRAP_ROUNDS, 0.2, 10)
    assert StopRule.for_each_of(2, TimingConfig(min_rounds=30)).min_rounds == 15


def test_processes_share_a_points_time_and_rounds_as_groups_do() -> None:
    options = TimingConfig(min_seconds=8, min_rounds=60, width=0.1, max_seconds=40)
    several = replace(options, processes=4)
    assert StopRule.for_each_of(1, several) == StopRule.for_each_of(4, options)
    assert StopRule.for_each_of(2, several) == StopRule.for_each_of(8, options)


# --- before --------------------------------------------------------------------------------------------------------


def warmed(costs: list[float], *, most: float = 1e9) -> tuple[list[float], bool]:
    table = Table()
    left = iter(costs)
    found = warm_up(lambda: table.spend(next(left)), clock=lambda: table.now, max_seconds=most)
    return [round(seconds, 6) for seconds in found.seconds], found.steady


def test_warming_up_ends_when_three_calls_in_a_row_took_the_same_time() -> None:
    assert warmed([9, 3, 1.05, 1, 1.02, 1]) == ([9, 3, 1.05, 1, 1.02], True)


def test_warming_up_has_an_end_when_calls_never_become_steady() -> None:
    assert warmed([1, 2, 1, 2, 1, 2, 1], most=5) == ([1, 2, 1, 2], False)


def test_two_calls_warm_up_where_there_is_no_time() -> None:
    assert warmed([5, 5], most=0) == ([5, 5], False)


def test_however_long_the_first_call_takes_there_is_time_to_become_steady() -> None:
    assert warmed([60, 1, 1, 1], most=4) == ([60, 1, 1, 1], True)


@quick
@given(
    targets=st.integers(1, 500),
    batch=st.integers(1, 64),
    seconds=st.floats(0, 100),
    size=st.integers(1, 2**31),
    block_mb=st.integers(1, 4096),
)
def test_a_block_is_whole_batches_or_all_targets_and_within_time_and_memory_but_for_its_first_batch(
    targets: int, batch: int, seconds: float, size: int, block_mb: int
) -> None:
    options = TimingConfig(block_mb=block_mb)
    count = targets_per_block(
        targets=targets, batch=batch, seconds_per_batch=seconds, bytes_per_target=size, options=options
    )
    assert count == targets or (count < targets and count % batch == 0)
    assert count >= 1
    if count > batch:
        assert count * size <= block_mb * 2**20 + batch * size
        assert count // batch * seconds <= options.block_seconds + seconds
