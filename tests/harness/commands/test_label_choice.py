"""``strategy=auto batch=auto``: what a job is done with where the user leaves it open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.commands.label import main
from harness.job import calibrate
from harness.result import PointResult
from harness.row import Row
from harness.store.results import RunFolder
from strategies import Sequential
from tests.support.harness_runs import complaint, point, row, run_here
from tests.support.jobs import BRIEF, draw, masks_in
from tests.support.report_runs import AGREED, FASTER


@pytest.fixture(autouse=True)
def measured_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "TIMING", BRIEF)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw(tmp_path / "my_data", targets=4)


def labelled(folder: Path, *words: str) -> str:
    """What a job that leaves strategy and batch open says; options that are given win."""
    ended = run_here(
        folder, "data=folder", "data.root=my_data", "label.review=0", "label.threads=1", *words, command=main
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def taken(folder: Path, out: str = "my_data-masks") -> tuple[str, str]:
    options = json.loads((folder / out / "job.json").read_text(encoding="utf-8"))["options"]
    return options["strategy"], options["batch"]


def measured(folder: Path, *points: dict[str, Any]) -> Path:
    """A run's folder with such points."""
    run = RunFolder(folder / "results" / "run")
    run.write_json(
        "environment.json",
        {
            "device": "a processor",
            "python": None,
            "packages": {},
            "threads": 1,
            "git_commit": None,
            "git_changed": None,
        },
    )
    for at, changes in enumerate(points):
        found = row(f"point{at}", **{**FASTER, **AGREED, "masks": "same", **changes})
        kept = {name: value for name, value in found.items() if name in Row.__dataclass_fields__}
        run.add(
            PointResult(row=Row(**kept), config=point().options | changes.get("config", {}), samples=[], details={})
        )
    return run.path


@pytest.mark.slow
def test_short_jobs_are_done_as_usual(tmp_path: Path, data: Path) -> None:
    assert "chosen: direct batch=8, as usual: the job is too short" in labelled(tmp_path)
    assert taken(tmp_path) == ("direct", "8")


@pytest.mark.slow
def test_what_was_measured_is_told_and_kept(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = labelled(tmp_path, "strategy=auto", "batch=2", "label.calibration=100")
    (line,) = [one for one in said.splitlines() if one.startswith("chosen: ")]
    strategy, batch = taken(tmp_path)
    assert line.startswith(f"chosen: {strategy} batch={batch}: ")
    assert batch == "2"
    assert "propagate" not in line  # it is not exact
    assert "sequential batch=2" in line
    before = masks_in(tmp_path / "my_data-masks")
    (tmp_path / "my_data-masks" / "specimen000" / "1.png").unlink()
    monkeypatch.setattr(calibrate, "measure_speed", None)  # nothing is measured again
    assert line.removeprefix("chosen: ") in labelled(tmp_path)
    assert taken(tmp_path) == (strategy, batch)
    assert masks_in(tmp_path / "my_data-masks") == before


@pytest.mark.slow
def test_a_strategy_that_fails_stops_no_job(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Sequential, "_predict", broken)
    said = labelled(tmp_path, "batch=2", "label.calibration=100")
    assert "not timed: " in said
    assert "sequential batch=2" in said.partition("not timed: ")[2]
    assert len(masks_in(tmp_path / "my_data-masks")) == 4


@pytest.mark.slow
def test_a_run_says_what_is_best(tmp_path: Path, data: Path) -> None:
    run = measured(
        tmp_path,
        {"batch": 4, "speedup": 3.0, "speedup_lo": 2.9, "speedup_hi": 3.1},
        {"batch": 2, "speedup": 2.0, "speedup_lo": 1.9, "speedup_hi": 2.1, "config": {"bank": "repeat"}},
        {
            "strategy": "propagate",
            "batch": 16,
            "speedup": 9.0,
            "speedup_lo": 8.0,
            "speedup_hi": 10.0,
            "masks": "differ",
        },
        {"strategy": "sequential", "batch": 1, "speedup": 1.0, "speedup_lo": 0.9, "speedup_hi": 1.1},
        {"strategy": "stream_batched", "scenario": "stream", "speedup": 9.0, "speedup_lo": 8.9, "speedup_hi": 9.1},
    )
    assert "chosen: direct batch=4, the best of run, 3.00 times as fast" in labelled(tmp_path, f"from={run}")
    assert taken(tmp_path) == ("direct", "4")
    labelled(tmp_path, f"from={run}", "strategy=sequential", "out=typed")  # what is typed goes first
    assert taken(tmp_path, "typed") == ("sequential", "1")
    labelled(tmp_path, f"from={run}", "batch=2", "out=batch")
    options = json.loads((tmp_path / "batch" / "job.json").read_text(encoding="utf-8"))["options"]
    assert (options["batch"], options["strategy.bank"]) == ("2", "repeat")
    labelled(tmp_path, "out=batch")  # going on takes the bank, too


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["from=nowhere"], "nowhere is not the folder of a run"),
        (["from=results/run", "dtype=bf16"], "no point of model=toy dtype=bf16"),
        (["from=results/run", "batch=3"], "batch=3"),
        (["label.calibration=-1"], "label.calibration=-1"),
        (["from=results/run", "strategy=direct", "batch=2"], "both are given"),
        (["scenario=stream", "strategy=stream_batched"], "label follows no streams: leave out scenario=stream"),
    ],
)
def test_what_can_not_be_taken_is_one_sentence(tmp_path: Path, data: Path, words: list[str], named: str) -> None:
    measured(tmp_path, {})
    ended = run_here(tmp_path, "data=folder", "data.root=my_data", *words, command=main)
    assert ended.returncode == 2
    assert named in complaint(ended.stderr)
