"""Which points are the same, what they share, what they are called, and how to measure them again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.options.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.options.data import DavisConfig, FolderConfig
from harness.options.points import Point, distinct
from tests.support.harness_runs import point

quick = settings(deadline=None, derandomize=True, max_examples=100)

DAVIS = DavisConfig(name="davis", root="clips")

POINTS = st.builds(
    point,
    st.sampled_from(["direct", "sequential"]),
    bank=st.sampled_from(["shared", "repeat"]),
    batch=st.sampled_from([1, 11]),
    objects=st.sampled_from([None, 1]),
    dtype=st.sampled_from(["fp32", "bf16"]),
    seed=st.sampled_from([0, 1]),
    name=st.sampled_from(["sweep", "other"]),
)


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_name_says_the_strategy_its_bank_the_batch_and_the_objects() -> None:
    assert point("direct", bank="repeat", batch=8, objects=4).name.startswith("direct-repeat-b8-o4-")
    assert point("sequential", batch=1).name.startswith("sequential-b1-oall-")


@quick
@given(first=POINTS, second=POINTS)
def test_points_share_a_name_just_where_they_measure_the_same(first: Point, second: Point) -> None:
    assert (first.name == second.name) == (first.digest == second.digest)


def test_a_name_does_not_change_from_run_to_run() -> None:
    assert point(batch=3).name == point(batch=3).name


# --- what is measured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"name": "other"}, {"results": "elsewhere"}, {"reporter": None}])
def test_where_results_go_does_not_change_what_is_measured(changes: dict[str, Any]) -> None:
    assert point(**changes).digest == point().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 9},
        {"objects": 1},
        {"refs": 1},
        {"targets": 3},
        {"dtype": "bf16"},
        {"device": "cpu"},
        {"seed": 1},
        {"compare": False},
        {"bank": "repeat"},
        {"timing": TimingConfig(min_rounds=4)},
        {"encode": EncodeConfig(batch=1)},
        {"data": SyntheticConfig(name="synthetic", groups=1, parts=2, absent=0)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_other_option_does(changes: dict[str, Any]) -> None:
    assert point(**changes).digest != point().digest


def test_a_bank_is_no_difference_for_a_strategy_without_one() -> None:
    assert point("sequential", bank="repeat").digest == point("sequential", bank="shared").digest
    assert point("sequential", bank="repeat").variant == ""


def test_two_strategies_with_the_same_options_are_two() -> None:
    assert point("rebuild").digest != point("sequential").digest


# --- a sweep's points ----------------------------------------------------------------------------------------------


def test_repetitions_are_left_out_and_the_first_stays() -> None:
    first, other, again = (
        point("sequential", bank=bank, batch=batch) for bank, batch in [("shared", 1), ("shared", 2), ("repeat", 1)]
    )
    chosen = distinct([first, other, again])
    assert chosen[0] is first
    assert chosen[1] is other
    assert len(chosen) == 2


@pytest.mark.slow
@quick
@given(points=st.lists(POINTS, min_size=1, max_size=12))
def test_distinct_keeps_every_point_once_and_those_that_share_features_together(points: list[Point]) -> None:
    chosen = distinct(points)
    assert {one.digest for one in chosen} == {one.digest for one in points}
    assert len({one.name for one in chosen}) == len(chosen)
    workloads = [one.workload for one in chosen]
    begun = [workload for at, workload in enumerate(workloads) if at == 0 or workload != workloads[at - 1]]
    assert len(begun) == len(set(begun)), "no features are made twice"
    for workload in set(workloads):
        asked = list(dict.fromkeys(one.digest for one in points if one.workload == workload))
        assert [one.digest for one in chosen if one.workload == workload] == asked, "the order asked for stays"


# --- shared features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"batch": 9}, {"bank": "repeat"}, {"compare": False}, {"pictures": 0}, {"timing": TimingConfig(min_rounds=4)}],
    ids=lambda changes: next(iter(changes)),
)
def test_options_of_the_prediction_stage_share_features(changes: dict[str, Any]) -> None:
    assert point(**changes).workload == point().workload


def test_strategies_share_features() -> None:
    assert len({point(strategy).workload for strategy in ("direct", "sequential", "rebuild")}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"refs": 1},
        {"targets": 3},
        {"dtype": "bf16"},
        {"device": "cpu"},
        {"seed": 1},
        {"encode": EncodeConfig(batch=1)},
        {"data": SyntheticConfig(name="synthetic", groups=2, parts=2)},
        {"data": FolderConfig(name="folder", root="clips")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_options_that_change_the_features_do_not(changes: dict[str, Any]) -> None:
    assert point(**changes).workload != point().workload


def test_objects_do_not_change_the_features_of_pictures_from_files() -> None:
    assert len({point(data=DAVIS, objects=objects).workload for objects in (None, 1, 2, 100)}) == 1


def test_objects_change_drawn_pictures_only_beyond_the_parts_they_have() -> None:
    one, two, three = (point(objects=objects).workload for objects in (1, 2, 3))
    assert one == two
    assert two != three, "specimens grow with the objects asked for"


# --- measuring again -----------------------------------------------------------------------------------------------


@quick
@given(overrides=st.lists(st.text(min_size=1), max_size=4))
def test_the_command_reaches_the_harness_as_it_was_given(overrides: list[str]) -> None:
    words = shlex.split(point(overrides=overrides).command)
    assert words == ["python", "-m", "harness", *overrides]


def test_a_command_is_one_line_to_read() -> None:
    assert point(overrides=["strategy=direct", "batch=2"]).command == "python -m harness strategy=direct batch=2"
