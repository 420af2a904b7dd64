"""Finished runs as one tidy table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness import load
from harness.row import CATALOGUE, COLUMNS
from strategies.errors import UserError
from tests.support.harness_runs import ended, row
from tests.support.paths import ROOT
from tests.support.report_runs import CONFIG, FASTER, run_folder

EARLY, LATE = "20260101-120000-000000-first", "20260102-120000-500000-second"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two runs, the link to the last, and what else lies beside runs."""
    options = {"data": {"name": "synthetic", "clips": ["dog", "libby"]}, "seed": 3}
    run_folder(tmp_path / EARLY, [row("one", batch=8, **FASTER), ended("two", "oom", "no")], config=CONFIG | options)
    run_folder(tmp_path / LATE, [row("one", batch=16)])
    (tmp_path / "baselines").mkdir()
    (tmp_path / "history.sqlite").write_text("")
    return tmp_path


def test_a_row_is_a_point_with_its_run_its_time_and_every_column(results: Path) -> None:
    table = load(results / EARLY)
    assert list(table.columns[: len(COLUMNS) + 2]) == ["run", "time", *COLUMNS]
    assert list(table["point"]) == ["one", "two"]
    assert set(table["run"]) == {EARLY}
    assert set(table["time"]) == {pd.Timestamp("2026-01-01 12:00")}


def test_numbers_are_numbers_and_what_was_not_measured_is_missing(results: Path) -> None:
    one, two = (found for _, found in load(results / EARLY).iterrows())
    assert (one["batch"], one["speedup"], one["converged"]) == (8, 4.341, True)
    assert two[["fps", "speedup", "converged"]].isna().all()
    types = load(results / EARLY).dtypes
    assert [name for name, column in CATALOGUE.items() if column.kind is int and str(types[name]) != "Int64"] == []


def test_every_option_of_a_point_is_a_column(results: Path) -> None:
    table = load(results / EARLY)
    assert set(table["config.timing.same"]) == {0.05}
    assert set(table["config.seed"]) == {3}
    assert list(table.groupby("config.data.clips").groups) == [("dog", "libby")]


def test_a_pattern_reads_all_runs_once(results: Path) -> None:
    table = load(results / "*")
    assert (results / "latest").resolve().name == LATE
    assert list(zip(table["run"], table["point"], strict=True)) == [(EARLY, "one"), (EARLY, "two"), (LATE, "one")]
    assert list(load(results / "latest", results / EARLY)["run"]) == [LATE, EARLY, EARLY]


@pytest.mark.parametrize("pattern", ["nowhere", "none*", "baselines"])
def test_what_is_no_run_is_refused(results: Path, pattern: str) -> None:
    with pytest.raises(UserError, match=rf"{pattern.replace('*', '.')} (holds no|matches no)"):
        load(results / pattern)


def test_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no run is named"):
        load()


def test_the_committed_example_which_has_no_files_of_points_is_read() -> None:
    table = load(ROOT / "results" / "example")
    assert len(table) > 10
    assert table["time"].isna().all(), "its folder is named by a person"
    assert table["speedup"].max() > 5


@pytest.mark.processes
def test_the_package_is_light_until_a_name_is_asked_for() -> None:
    code = (
        "import sys, harness; before = {'torch', 'pandas'} & set(sys.modules)\n"
        "from harness import load; print(before, {'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set() {'pandas'}\n"
