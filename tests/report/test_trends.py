"""Trends in a report: what the history says of a run's points, with its steps, and nothing of any other's."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.store import history
from harness.store.history import NAME, append
from harness.store.results import RunFolder
from report import write_report
from report.sections.from_run_to_run import trends_section
from tests.support.harness_runs import ended, point, row
from tests.support.report_runs import ENVIRONMENT, size_of, table_cells, text_of, written_section

TITLE = "From run to run"
DAY = 86_400
Measurement = tuple[Point, dict[str, Any]]
DIRECT = point(batch=8, objects=4)


def faster(speedup: float, *, reach: float = 0.02, **changes: Any) -> dict[str, Any]:
    """Return a row with a speed-up, in an interval that reaches equally far to both sides."""
    interval = {"speedup": speedup, "speedup_lo": speedup / (1 + reach), "speedup_hi": speedup * (1 + reach)}
    return row(**{"batch": 8, "reference": "sequential", "verdict": "faster"} | interval | changes)


def run_of(results: Path, name: str, *rows: Measurement, day: int, **environment: Any) -> Path:
    """Make a run's folder whose points ended on a day of January 2026, and put it into the history."""
    run = RunFolder(results / name)
    commit = f"{day:08x}" * 5
    run.write_json("environment.json", ENVIRONMENT | {"git_commit": commit} | environment)
    run.add(
        *(PointResult(row=Row(**described | {"point": made.name}), config=made.options) for made, described in rows)
    )
    for made, _ in rows:
        ended_at = 1_767_225_600 + (day - 1) * DAY
        os.utime(run.path / "points" / f"{made.name}.json", (ended_at, ended_at))
    assert append(run.path)
    return run.path


def runs_of(results: Path, *speedups: float, **options: Any) -> list[Path]:
    """Make one run a day."""
    return [
        run_of(results, f"run-{day}", (DIRECT, faster(speedup)), day=day, **options)
        for day, speedup in enumerate(speedups, start=1)
    ]


def written_text_of(run: Path) -> str:
    return written_section(run, trends_section)


def tooltips(run: Path) -> list[str]:
    """Return the tooltips of the figure's marks."""
    root = ElementTree.parse(run / "trends.svg").getroot()
    return [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]


def letters(run: Path) -> list[str]:
    """Return the texts in the figure."""
    root = ElementTree.parse(run / "trends.svg").getroot()
    return [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.slow
def test_a_step_is_marked_and_named_with_its_run_and_commit(tmp_path: Path) -> None:
    run = runs_of(tmp_path, 4.0, 4.05, 3.2, 3.25)[-1]
    text = written_text_of(run)
    assert "1 of 1 speed-ups stepped by more than 10% over 4 runs on a processor." in text
    assert table_cells(text, TITLE) == [
        {
            **{"strategy": "direct (shared)", "batch": "8", "objects": "4", "runs": "4"},
            **{"first": "4.00 (3.92-4.08)", "this run": "3.25 (3.19-3.31)", "latest step in": "run-3"},
            **{"on": "2026-01-03", "commit": "00000003", "change": "0.79 (0.77-0.81)"},
        }
    ]
    assert letters(run).count("-21%") == 1
    assert tooltips(run) == [
        "run-1, 2026-01-01, commit 00000001: 4.00 (3.92-4.08)",
        "run-2, 2026-01-02, commit 00000002: 4.05 (3.97-4.13)",
        "run-3, 2026-01-03, commit 00000003: 3.20 (3.14-3.26), a step by 0.79 (0.77-0.81)",
        "run-4 (this run), 2026-01-04, commit 00000004: 3.25 (3.19-3.31)",
    ]


def test_noise_is_no_step(tmp_path: Path) -> None:
    run = runs_of(tmp_path, 4.0, 4.1, 3.9, 4.05, 3.85)[-1]
    text = written_text_of(run)
    assert "No speed-up stepped by more than 10% over 5 runs on a processor." in text
    (cells,) = table_cells(text, TITLE)
    assert list(cells) == ["strategy", "batch", "objects", "runs", "first", "this run"]
    assert not any("%" in text for text in letters(run))


@pytest.mark.slow
def test_points_with_a_step_come_first_then_those_of_most_runs(tmp_path: Path) -> None:
    stepping, lately = point("sequential", batch=8, objects=4), point(batch=8, objects=1)
    for day in (1, 2, 3):
        late = [(lately, faster(5.0, objects=1))] if day > 1 else []
        other = (stepping, faster(2.0 if day > 2 else 3.0, strategy="other", variant=""))
        run = run_of(tmp_path, f"run-{day}", *late, (DIRECT, faster(4.0)), other, day=day)
    text = text_of(run)
    assert "1 of 3 speed-ups stepped" in text
    found = [(cells["strategy"], cells["objects"], cells["runs"]) for cells in table_cells(text, TITLE)]
    assert found == [("other", "4", "3"), ("direct (shared)", "4", "3"), ("direct (shared)", "1", "2")]


# --- what is in a trend, and what is not -----------------------------------------------------------------------------


def test_a_single_run_has_no_trend(tmp_path: Path) -> None:
    (run,) = runs_of(tmp_path, 4.0)
    assert TITLE not in text_of(run)
    assert not (run / "trends.png").exists()


def test_where_there_is_no_history_there_is_no_trend(tmp_path: Path) -> None:
    run = runs_of(tmp_path, 4.0, 3.0)[-1]
    (tmp_path / NAME).unlink()
    assert TITLE not in text_of(run)
    assert not (tmp_path / NAME).exists()


@pytest.mark.slow
def test_other_devices_are_other_trends(tmp_path: Path) -> None:
    run_of(tmp_path, "elsewhere", (DIRECT, faster(9.0)), day=1, device="a card")
    first = run_of(tmp_path, "first", (DIRECT, faster(4.0)), day=2)
    assert TITLE not in written_text_of(first)
    second = run_of(tmp_path, "second", (DIRECT, faster(4.0)), day=3)
    assert "No speed-up stepped by more than 10% over 2 runs" in written_text_of(second)
    assert not any("elsewhere" in line for line in tooltips(second))


def test_a_run_that_the_history_does_not_know_is_given_no_other_runs_trends(tmp_path: Path) -> None:
    run = runs_of(tmp_path, 4.0, 3.0)[-1]
    shutil.copytree(run, tmp_path / "copy")
    assert TITLE not in text_of(tmp_path / "copy")
    shutil.copytree(run, tmp_path / "away" / run.name)
    assert TITLE not in text_of(tmp_path / "away" / run.name)


def test_the_link_to_the_latest_run_is_as_good_as_its_folder(tmp_path: Path) -> None:
    runs_of(tmp_path, 4.0, 3.0)
    assert "1 of 1 speed-ups stepped" in text_of(tmp_path / "latest")


def test_later_runs_are_shown_and_the_reports_own_is_marked(tmp_path: Path) -> None:
    first, *_ = runs_of(tmp_path, 4.0, 4.0, 3.0)
    (cells,) = table_cells(written_text_of(first), TITLE)
    assert (cells["runs"], cells["this run"], cells["latest step in"]) == ("3", "4.00 (3.92-4.08)", "run-3")
    assert [line.partition(",")[0] for line in tooltips(first)] == ["run-1 (this run)", "run-2", "run-3"]


@pytest.mark.slow
@pytest.mark.parametrize("status", ["oom", "crash", "timeout", "wrong", "skipped"])
def test_runs_that_were_not_ok_are_shown_and_do_not_count(tmp_path: Path, status: str) -> None:
    runs_of(tmp_path, 4.0, 4.0)
    run = run_of(tmp_path, "run-3", (DIRECT, ended("x", status, "why", batch=8, objects=None)), day=3)
    (cells,) = table_cells(written_text_of(run), TITLE)
    assert (cells["runs"], cells["this run"]) == ("2", status)
    assert tooltips(run)[-1] == f"run-3 (this run), 2026-01-03, commit 00000003: {status}"
    later = run_of(tmp_path, "run-4", (DIRECT, faster(3.0)), day=4)
    assert "over 3 runs" in written_text_of(later)
    assert tooltips(later)[2] == f"run-3, 2026-01-03, commit 00000003: {status}"


@pytest.mark.slow
def test_runs_without_an_interval_are_left_out(tmp_path: Path) -> None:
    runs_of(tmp_path, 4.0, 4.0)
    unpaired = run_of(tmp_path, "unpaired", (DIRECT, row(batch=8)), day=3)
    assert TITLE not in written_text_of(unpaired), "it has no speed-up to compare"
    run = run_of(tmp_path, "run-4", (DIRECT, faster(4.0)), day=4)
    written_text_of(run)
    assert [line.partition(",")[0] for line in tooltips(run)] == ["run-1", "run-2", "run-4 (this run)"]


# --- stores that can not be used -------------------------------------------------------------------------------------


def nonsense(column: str, value: object) -> Callable[[Path], None]:
    def write(store: Path) -> None:
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute(f"UPDATE results SET {column} = ?", (value,))

    return write


DAMAGES: dict[str, Callable[[Path], object]] = {
    "damaged": lambda store: store.write_text("this is no database, however long it goes on" * 100),
    "a folder": lambda store: (store.unlink(), store.mkdir()),
    "words for numbers": nonsense("speedup", "fast"),
    "an interval elsewhere": nonsense("speedup_lo", 7.0),
    "no positive interval": nonsense("speedup_lo", -7.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_history_of_no_use_is_reported_in_a_sentence(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    run = runs_of(tmp_path, 4.0, 3.0)[-1]
    damage(tmp_path / NAME)
    text = text_of(run)
    assert len(re.findall(rf"^## {TITLE}\n\nThere are no trends to show: .*\.\n\n## ", text, flags=re.MULTILINE)) == 1
    assert "## How far to trust it" in text
    assert not (run / "trends.png").exists()


@pytest.mark.slow
def test_a_history_that_is_locked_is_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PATIENCE", 0.05)
    run = runs_of(tmp_path, 4.0, 3.0)[-1]
    with closing(sqlite3.connect(tmp_path / NAME)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert re.search(r"There are no trends to show: .*locked", text_of(run))
    assert "1 of 1 speed-ups stepped" in text_of(run)


# --- the figure ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_figure_is_the_same_every_time(tmp_path: Path) -> None:
    made = [runs_of(tmp_path / name, 4.0, 3.0)[-1] for name in ("one", "two")]
    for run in made:
        write_report(run)
    for name in ("trends.png", "trends.svg", "report.html"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name


@pytest.mark.slow
def test_runs_of_one_day_are_distinguished_by_the_time(tmp_path: Path) -> None:
    days = runs_of(tmp_path / "days", 4.0, 4.0)[-1]
    written_text_of(days)
    assert {"2026-01-01", "2026-01-02"} <= set(letters(days))
    for name in ("one", "two"):
        run = run_of(tmp_path, name, (DIRECT, faster(4.0)), day=1)
    path = run / "points" / f"{DIRECT.name}.json"
    os.utime(path, (path.stat().st_mtime + 3600,) * 2)
    append(run)
    written_text_of(run)
    assert {"01-01 00:00", "01-01 01:00"} <= set(letters(run))


@pytest.mark.slow
def test_of_many_runs_those_around_this_one_are_drawn(tmp_path: Path) -> None:
    made = runs_of(tmp_path, *[4.0] * 3, *[3.0] * 50)
    text = written_text_of(made[-1])
    assert "At most 30 runs of a point are drawn." in text
    assert "over 53 runs" in text
    assert [line.partition(",")[0] for line in tooltips(made[-1])][::29] == ["run-24", "run-53 (this run)"]
    assert "-25%" not in letters(made[-1]), "it is out of sight"
    written_text_of(made[20])
    assert [line.partition(",")[0] for line in tooltips(made[20])][::15] == ["run-6", "run-21 (this run)"]
    written_text_of(made[0])
    assert [line.partition(",")[0] for line in tooltips(made[0])][::29] == ["run-1 (this run)", "run-30"]
    assert "-25%" in letters(made[0])


@pytest.mark.slow
def test_one_wide_interval_does_not_flatten_the_line(tmp_path: Path) -> None:
    for day, reach in ((1, 0.02), (2, 50.0), (3, 0.02)):
        run = run_of(tmp_path, f"run-{day}", (DIRECT, faster(3.0 if day > 2 else 4.0, reach=reach)), day=day)
    written_text_of(run)
    ticks = [float(text) for text in letters(run) if re.fullmatch(r"[\d.]+", text)]
    assert len(ticks) >= 2
    assert 1 < min(ticks) < 3 < max(ticks) < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Größe 木 🌿", "a|b", "$x_{", "%s {}", "a" * 120])
def test_strategies_and_runs_of_any_name(tmp_path: Path, name: str) -> None:
    for day in (1, 2):
        one = (DIRECT, faster(4.0 / day, strategy=name, variant=""))
        run = run_of(tmp_path, f"{name[:40]} {day}", one, day=day)
    text = written_text_of(run)
    (cells,) = table_cells(text.replace("\\|", "!"), TITLE)
    assert cells["strategy"] == name.replace("|", "!")
    assert cells["latest step in"] == f"{name[:40]} 2".replace("|", "!")
    assert tooltips(run)[0].startswith(f"{name[:40]} 1, 2026-01-01")
    assert max(size_of(run / "trends.png")) < 4000


@pytest.mark.slow
def test_more_points_than_can_be_drawn(tmp_path: Path) -> None:
    grid = [(point(batch=batch, objects=objects), batch, objects) for batch in range(1, 5) for objects in range(1, 11)]
    for day in (1, 2):
        rows = [
            (made, faster(3.0 if day > 1 and batch == 3 else 4.0, batch=batch, objects=objects))
            for made, batch, objects in grid
        ]
        run = run_of(tmp_path, f"run-{day}", *rows, day=day)
    text = written_text_of(run)
    assert "10 of 40 speed-ups stepped" in text
    assert "28 more points are in the table only." in text
    cells = table_cells(text, TITLE)
    assert len(cells) == 40
    assert {one["batch"] for one in cells[:10]} == {"3"}
    assert len(tooltips(run)) == 24, "two runs in each of twelve panels"
    assert letters(run).count("-25%") == 10
    assert max(size_of(run / "trends.png")) < 4000
    assert (run / "trends.svg").stat().st_size < 3e5
