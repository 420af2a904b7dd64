"""Keys recognise a point in another run, and decide which of a run's results counts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.options.config import CheckConfig, EncodeConfig, ModelConfig, SyntheticConfig, TimingConfig
from harness.options.data import DavisConfig, FolderConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.store.point_key import key_of, measured
from harness.store.results import RunFolder
from tests.support.harness_runs import ended, point, row


def stored(folder: Path, made: Point, result_row: dict[str, Any], *, time: int, code: str = "") -> None:
    """The result in a run's folder, as if it had come at that time, from that code."""
    described = {"strategy": made.strategy, "variant": made.variant}
    RunFolder(folder).add(PointResult(row=Row(**result_row | described), config=made.options), identity={"code": code})
    os.utime(folder / "points" / f"{made.name}.json", (time, time))


def test_a_key_says_in_words_what_the_point_is() -> None:
    assert key_of(point(batch=8, objects=4, data=SyntheticConfig(name="synthetic"))) == (
        "direct shared batch=8 objects=4 refs=2 targets=16 dtype=fp32 model=toy data=synthetic"
    )
    assert key_of(point("sequential", data=DavisConfig(name="davis", root="/a/b/DAVIS"), targets=None)) == (
        "sequential batch=8 objects=all refs=2 targets=all dtype=fp32 model=toy data=davis:DAVIS"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"timing": TimingConfig(max_seconds=60)},
        {"timeout": 5.0},
        {"monitor_interval": 1.0},
        {"pictures": 0},
        {"name": "other"},
        {"isolation": "inline"},
        {"device": "cpu"},
        {"data": FolderConfig(name="folder", root="there/wings")},
        {"model": ModelConfig(name="toy", weights="there/mine")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_how_and_where_a_point_is_measured_is_not_in_its_key(changes: dict[str, Any]) -> None:
    here = {
        "data": FolderConfig(name="folder", root="here/wings"),
        "model": ModelConfig(name="toy", weights="here/mine"),
    }
    assert key_of(changed({**here, **changes})) == key_of(changed(here))


def changed(options: dict[str, Any]) -> Point:
    model = options.pop("model", ModelConfig(name="toy")) if "model" in options else None
    made = point(**{name: value for name, value in options.items() if name != "model"})
    if model is None:
        return made
    return replace(made, config=replace(made.config, model=model))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 9},
        {"objects": 1},
        {"refs": 1},
        {"targets": 3},
        {"dtype": "bf16"},
        {"seed": 1},
        {"repeat": 1},
        {"bank": "repeat"},
        {"encode": EncodeConfig(batch=1)},
        {"compare": False},
        {"paired": False},
        {"model": ModelConfig(name="toy", weights="mine")},
        {"data": SyntheticConfig(name="synthetic", groups=1, parts=3)},
        {"data": FolderConfig(name="folder", root="wings")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_makes_it_another_point_is(changes: dict[str, Any]) -> None:
    assert key_of(changed(dict(changes))) != key_of(changed({}))


def test_another_reference_makes_another_point() -> None:
    made = point()
    other = replace(made.config, baseline={"_target_": "strategies.rebuild.Rebuild"})
    assert key_of(replace(made, config=other)) == f"{key_of(made)} against=Rebuild"


def test_the_gates_options_do_not_change_what_is_measured() -> None:
    assert point(check=CheckConfig(retries=5, subset=True)).digest == point().digest


def test_a_result_is_found_under_the_key_of_its_point(tmp_path: Path) -> None:
    made = point(objects=2, data=SyntheticConfig(name="synthetic", groups=1, parts=2, absent=0))
    stored(tmp_path, made, row(made.name, objects=2, targets=32), time=1_000_000_000)
    (found,) = measured(tmp_path).values()
    assert found.key == key_of(made)
    assert found.row.targets == 32
    assert found.time.isoformat() == "2001-09-09T01:46:40+00:00"


def test_of_several_results_of_a_point_the_last_counts(tmp_path: Path) -> None:
    first, again = point(), point(timing=TimingConfig(max_seconds=60))
    stored(tmp_path, again, row(again.name, fps=2.0), time=2_000)
    stored(tmp_path, first, row(first.name, fps=1.0), time=1_000)
    assert [one.row.fps for one in measured(tmp_path).values()] == [2.0]
    stored(tmp_path, first, ended(first.name, "crash", "it fell"), time=3_000)
    assert [one.row.status for one in measured(tmp_path).values()] == ["crash"]


@pytest.mark.parametrize(("last", "counts"), [({"processes": 1}, 1.0), ({"processes": 2}, 2.0)])
def test_a_result_that_was_cut_off_does_not_count_beside_a_complete_one(
    last: dict[str, Any], counts: float, tmp_path: Path
) -> None:
    first, again = point(), point(timing=TimingConfig(max_seconds=60, processes=2))
    stored(tmp_path, first, row(first.name, fps=1.0), time=1_000)
    stored(tmp_path, again, row(again.name, fps=2.0, **last), time=2_000)
    assert [one.row.fps for one in measured(tmp_path).values()] == [counts]


def test_a_result_of_other_code_counts_not_even_beside_one_that_was_cut_off(tmp_path: Path) -> None:
    before, now = point(timing=TimingConfig(max_seconds=60)), point(timing=TimingConfig(processes=2))
    stored(tmp_path, before, row(before.name, fps=1.0), time=1_000, code="before")
    stored(tmp_path, now, row(now.name, fps=2.0, processes=1), time=2_000, code="now")
    assert [one.row.fps for one in measured(tmp_path).values()] == [2.0]


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"row": row(), "config": {}})])
def test_a_damaged_result_is_as_good_as_none(damage: str, tmp_path: Path) -> None:
    made = point()
    stored(tmp_path, made, row(made.name), time=1_000)
    (tmp_path / "points" / "other.json").write_text(damage, encoding="utf-8")
    assert list(measured(tmp_path)) == [key_of(made)]
