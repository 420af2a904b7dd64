"""The history: every run's results in one file, trends and their steps, and that no store can hurt a run."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.options.points import Point
from harness.result import PointResult
from harness.row import GATED, Row
from harness.store import history
from harness.store.history import COLUMNS, NAME, Entry, append, steps, trends
from harness.store.point_key import key_of
from harness.store.results import RunFolder
from strategies.errors import UserError
from tests.support.check_runs import COMMIT, environment
from tests.support.harness_runs import TINY, ended, exit_code, only_run, point, row, strict_json

DIRECT, SEQUENTIAL = point(), point("sequential")
KEY = key_of(DIRECT)
FASTER = {"reference": "sequential", "speedup": 4.0, "speedup_lo": 3.9, "speedup_hi": 4.1}


def run_of(
    results: Path, name: str, rows: Sequence[tuple[Point, dict[str, Any]]], *, at: int = 0, **changes: Any
) -> Path:
    """A run's folder whose points ended at that second of 2026."""
    run = RunFolder(results / name)
    run.write_json("environment.json", environment(**changes))
    for made, described in rows:
        named = {"point": made.name, "strategy": made.strategy, "variant": made.variant}
        run.add(PointResult(row=Row(**described | named), config=made.options))
        os.utime(run.path / "points" / f"{made.name}.json", (1_767_225_600 + at, 1_767_225_600 + at))
    return run.path


def test_a_run_is_appended_with_all_its_points(tmp_path: Path) -> None:
    measured = row(**FASTER, iou_mean=0.999, iou_min=0.9, jf=0.8, peak_rss_mb=500.0)
    run = run_of(tmp_path, "one", [(DIRECT, measured), (SEQUENTIAL, ended("x", "crash", "it fell"))])
    assert append(run)
    assert trends(tmp_path / NAME, device="a processor", threads=1)[KEY] == [
        Entry(
            run="one",
            key=KEY,
            time="2026-01-01T00:00:00.000+00:00",
            device="a processor",
            threads=1,
            commit=COMMIT,
            status="ok",
            speedup=4.0,
            speedup_lo=3.9,
            speedup_hi=4.1,
            fps=12.5,
            iou_mean=0.999,
            iou_min=0.9,
            jf=0.8,
            peak_rss_mb=500.0,
            vram_peak_mb=None,
        )
    ]
    (crashed,) = trends(tmp_path / NAME, device="a processor", threads=1)[key_of(SEQUENTIAL)]
    assert (crashed.status, crashed.speedup, crashed.interval) == ("crash", None, None)


def test_a_run_keeps_all_that_the_gate_compares() -> None:
    assert set(GATED) <= set(COLUMNS)


def test_a_trend_goes_from_old_to_new_however_runs_were_appended(tmp_path: Path) -> None:
    for name, at in (("c", 30), ("a", 10), ("b", 20)):
        append(run_of(tmp_path, name, [(DIRECT, row(**FASTER))], at=at, git_commit=name * 40))
    assert [one.run for one in trends(tmp_path / NAME, device="a processor", threads=1)[KEY]] == ["a", "b", "c"]
    assert [one.commit for one in trends(tmp_path / NAME, device="a processor", threads=1)[KEY]] == [
        "a" * 40,
        "b" * 40,
        "c" * 40,
    ]


def test_devices_have_trends_of_their_own(tmp_path: Path) -> None:
    append(run_of(tmp_path, "one", [(DIRECT, row())]))
    append(run_of(tmp_path, "two", [(DIRECT, row())], device="a card"))
    assert [one.run for one in trends(tmp_path / NAME, device="a card", threads=1)[KEY]] == ["two"]
    assert [one.run for one in trends(tmp_path / NAME, device="a processor", threads=1)[KEY]] == ["one"]


def test_numbers_of_threads_have_trends_of_their_own(tmp_path: Path) -> None:
    append(run_of(tmp_path, "one", [(DIRECT, row())]))
    append(run_of(tmp_path, "two", [(DIRECT, row())], threads=2))
    for threads, run in ((1, "one"), (2, "two")):
        assert [one.run for one in trends(tmp_path / NAME, device="a processor", threads=threads)[KEY]] == [run]
    assert trends(tmp_path / NAME, device="a processor", threads=None) == {}


def test_a_run_that_is_gone_on_with_replaces_its_own_rows_and_no_others(tmp_path: Path) -> None:
    append(run_of(tmp_path, "one", [(DIRECT, ended("x", "crash", "it fell"))], at=1))
    append(run_of(tmp_path, "two", [(DIRECT, row(fps=2.0))], at=2))
    append(run_of(tmp_path, "one", [(DIRECT, row(fps=3.0)), (SEQUENTIAL, row())], at=3))
    found = trends(tmp_path / NAME, device="a processor", threads=1)[KEY]
    assert [(one.run, one.fps) for one in found] == [("two", 2.0), ("one", 3.0)]
    assert len(trends(tmp_path / NAME, device="a processor", threads=1)[key_of(SEQUENTIAL)]) == 1


# --- stores that can not be used ------------------------------------------------------------------------------------


def test_there_is_no_trend_before_the_first_run(tmp_path: Path) -> None:
    assert trends(tmp_path / NAME, device="a processor", threads=1) == {}
    assert list(tmp_path.iterdir()) == [], "reading makes no file"


def other_version(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA user_version = 99")


DAMAGES = {
    "damaged": lambda store: store.write_text("this is no database, however long it goes on" * 100),
    "folder": lambda store: store.mkdir(),
    "version": other_version,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_store_that_can_not_be_used_costs_one_line_of_warning(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, "one", [(DIRECT, row())])
    DAMAGES[damage](tmp_path / NAME)
    assert not append(run)
    warned = capsys.readouterr().err
    assert warned.startswith("warning: this run is not in the history")
    assert warned.count("\n") == 1
    with pytest.raises(UserError, match="can't be read"):
        trends(tmp_path / NAME, device="a processor", threads=1)


def test_a_store_that_is_locked_costs_one_line_of_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PATIENCE", 0.05)
    append(run_of(tmp_path, "one", [(DIRECT, row())], at=1))
    two = run_of(tmp_path, "two", [(DIRECT, row())], at=2)
    with closing(sqlite3.connect(tmp_path / NAME)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not append(two)
    assert "locked" in capsys.readouterr().err
    assert append(two)
    assert [one.run for one in trends(tmp_path / NAME, device="a processor", threads=1)[KEY]] == ["one", "two"]


@pytest.mark.slow
def test_a_sweep_is_appended_and_ends_well_whatever_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ("strategy=sequential", "batch=1", "paired=false", *TINY)
    assert exit_code(*sweep) == 0
    store = tmp_path / "results" / NAME
    environment = strict_json(only_run(tmp_path / "results") / "environment.json")
    ((entry,),) = trends(store, device=environment["device"], threads=environment["threads"]).values()
    assert entry.run == only_run(tmp_path / "results").name
    assert entry.fps is not None
    store.write_text("this is no database, however long it goes on" * 100)
    capsys.readouterr()
    assert exit_code(*sweep) == 0
    assert "not in the history" in capsys.readouterr().err


# --- steps ---------------------------------------------------------------------------------------------------------


def entries(*intervals: tuple[float, float] | None) -> list[Entry]:
    """Speed-ups, each with its reach; None is a run without one."""
    return [
        Entry(
            **{"run": str(at), "key": KEY, "time": str(at), "device": "a processor", "threads": 1},
            commit=None,
            status="ok",
            speedup=None if one is None else one[0],
            speedup_lo=None if one is None else one[0] / (1 + one[1]),
            speedup_hi=None if one is None else one[0] * (1 + one[1]),
            **dict.fromkeys(("fps", "iou_mean", "iou_min", "jf", "peak_rss_mb", "vram_peak_mb")),
        )
        for at, one in enumerate(intervals)
    ]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], []),
        ([(4.0, 0.02)], []),
        ([(4.0, 0.02), (4.1, 0.02), (3.9, 0.02)], []),
        ([(4.0, 0.02), (4.1, 0.02), (3.3, 0.02), (3.2, 0.02)], [2]),
        ([(4.0, 0.02), (5.0, 0.02), (5.1, 0.02), (4.0, 0.02)], [1, 3]),
        ([(4.0, 0.02), (3.3, 0.3), (4.0, 0.02)], []),
        ([(4.0, 0.02), (3.6, 0.3), (3.2, 0.02)], [2]),
        ([(4.0, 0.3), (4.0, 0.02), (3.3, 0.02)], [2]),
        ([(4.0, 0.02), (3.8, 0.02), (3.6, 0.02), (3.4, 0.02)], [3]),
        ([(4.0, 0.02), (3.8, 0.015), (3.6, 0.01), (3.4, 0.008), (3.2, 0.005)], [3]),
        ([None, (4.0, 0.02), None, (3.0, 0.02), None], [3]),
        ([(4.0, 0.02), (3.75, 0.001)], []),
    ],
)
def test_a_step_is_where_the_whole_interval_of_the_change_is_beyond_the_margin(
    intervals: list[tuple[float, float] | None], expected: list[int]
) -> None:
    assert list(steps(entries(*intervals))) == expected


def test_a_wider_margin_marks_fewer_steps() -> None:
    made = entries((4.0, 0.02), (3.3, 0.02), (2.0, 0.02))
    assert list(steps(made)) == [1, 2]
    assert list(steps(made, margin=0.5)) == [2]


def test_a_step_has_the_largest_change_that_is_sure_since_the_last_one() -> None:
    made = entries((4.5, 0.3), (4.1, 0.01), (4.0, 0.02), (3.3, 0.02), (5.0, 0.02))
    found = steps(made)
    assert {place: round(change.value, 3) for place, change in found.items()} == {3: 0.805, 4: 1.515}
    assert found[3].lo < 3.3 / 4.1 < found[3].hi
