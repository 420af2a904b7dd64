"""The rules of a sweep, with a launcher that does nothing but note what it was asked and say how that ended."""

from __future__ import annotations

import fcntl
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.isolate.failures import Failure, failure_of
from harness.isolate.isolation import Outcome
from harness.isolate.jobs import EncodeJob, Job, MeasureJob
from harness.options.points import Point
from harness.progress import Progress
from harness.result import PointResult
from harness.row import STATUSES, Row
from harness.store.results import RunFolder
from harness.sweep import run_sweep
from harness.workload.scratch import LOCK, PREFIX, scratch_folder
from strategies.errors import UserError
from tests.support.harness_runs import point, row, strict_json, summary
from tests.support.sweeps import Sweeps

CRASH = Outcome(failure=Failure(status="crash", reason="it fell"), output="the end of what it printed")
REFUSED = Outcome(failure=Failure(status="skipped", reason="the first target is broken", refused=True))


def well(point: Point) -> Outcome:
    """Return the outcome of a point that went well."""
    return Outcome(result=PointResult(row=Row(**row(point.name, strategy=point.strategy)), config=point.options))


@dataclass(kw_only=True)
class Launcher:
    """ends: how points end that do not end well; encodings: the same of their workloads, by the first point's name."""

    ends: dict[str, Outcome | BaseException] = field(default_factory=dict)
    encodings: dict[str, Outcome] = field(default_factory=dict)
    watch: Callable[[Job], None] = lambda job: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __call__(self, point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome:
        assert job.point is point
        assert job.folder.is_dir()
        self.watch(job)
        self.folders.append(job.folder)
        on_stage("at work")
        if isinstance(job, EncodeJob):
            self.asked.append(("encode", point.name))
            return self.encodings.get(point.name, Outcome())
        self.asked.append(("measure", point.name))
        end = self.ends.get(point.name, well(point))
        if isinstance(end, BaseException):
            raise end
        return end

    @property
    def measured(self) -> list[str]:
        return [name for what, name in self.asked if what == "measure"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return Sweeps(path=tmp_path / "run")


A, B, C = (point(strategy, batch=2) for strategy in ("direct", "sequential", "rebuild"))
OTHER = point("direct", batch=2, targets=5)
"""A point of another workload than A, B and C."""


# --- order and storage ---------------------------------------------------------------------------------------------


def test_each_workload_is_encoded_once_and_then_its_points_are_measured_in_order(sweep: Sweeps) -> None:
    launcher = Launcher()
    sweep([A, B, OTHER], launcher)
    assert launcher.asked == [
        ("encode", A.name),
        ("measure", A.name),
        ("measure", B.name),
        ("encode", OTHER.name),
        ("measure", OTHER.name),
    ]
    assert launcher.folders[0] == launcher.folders[1] == launcher.folders[2]
    assert launcher.folders[3] == launcher.folders[4] != launcher.folders[0]


def test_what_several_points_warn_of_is_told_once(sweep: Sweeps) -> None:
    def warning(point: Point, *warnings: str) -> Outcome:
        result = PointResult(row=Row(**row(point.name)), config=point.options, details={"warnings": list(warnings)})
        return Outcome(result=result)

    odd = {A.name: warning(A, "one [id]"), B.name: warning(B, "one [id]", "two"), OTHER.name: warning(OTHER, "two")}
    printed = sweep([A, B, OTHER], Launcher(ends=dict(odd)))
    told = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert told == ["warning: one [id]", "warning: two"]


def test_what_is_asked_is_stored_before_anything_starts_and_each_result_before_the_next(sweep: Sweeps) -> None:
    stored: list[list[str]] = []

    def watch(job: Job) -> None:
        assert [entry["point"] for entry in strict_json(sweep.path / "plan.json")] == [A.name, B.name, C.name]
        assert strict_json(sweep.path / "environment.json")["device"]
        stored.append([line["point"] for line in summary(sweep.path)])
        assert {path.stem for path in (sweep.path / "points").iterdir()} == set(stored[-1])

    sweep([A, B, C], Launcher(watch=watch))
    assert stored == [[], [], [A.name], [A.name, B.name]]
    assert sweep.rows == [(A.name, "ok"), (B.name, "ok"), (C.name, "ok")]


@pytest.mark.parametrize(("kills", "ended"), [(1, "ok"), (2, "crash")])
def test_an_encoder_that_was_killed_has_one_more_try_in_an_empty_folder(sweep: Sweeps, kills: int, ended: str) -> None:
    """All points of a workload would end with it, for a kill that may have been meant for something else."""
    left = [Outcome(failure=Failure(status="crash", reason="killed", killed=True))] * kills

    def launch(point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome:
        if isinstance(job, MeasureJob):
            return well(point)
        assert [path.name for path in job.folder.iterdir()] == [LOCK]
        (job.folder / "0").mkdir()
        (job.folder / "half").touch()
        return left.pop() if left else Outcome()

    run = RunFolder(sweep.path)
    with Progress(2, Console(file=StringIO())) as progress:
        run_sweep([A, B], run, progress, launch=launch)
    assert [status for _, status in sweep.rows] == [ended] * 2


def test_the_features_are_gone_as_soon_as_their_last_point_is_measured(sweep: Sweeps) -> None:
    observed: list[list[str]] = []
    temporary = Path(tempfile.gettempdir())
    launcher = Launcher(watch=lambda job: observed.append([path.name for path in temporary.iterdir()]))
    sweep([A, OTHER], launcher)
    assert all(names == [folder.name] for names, folder in zip(observed, launcher.folders, strict=True))
    assert list(temporary.iterdir()) == []


def test_a_point_knows_where_pictures_go_and_when_it_was_asked_for(sweep: Sweeps) -> None:
    jobs: list[Job] = []
    sweep([A, B], Launcher(watch=jobs.append))
    first, second = [job for job in jobs if isinstance(job, MeasureJob)]
    assert first.run_folder == second.run_folder == sweep.path
    assert 0 < first.began <= second.began


def test_every_point_is_reported_with_its_number(sweep: Sweeps) -> None:
    printed = sweep([A, B, C], Launcher(ends={B.name: CRASH})).splitlines()
    assert [line.split(",")[0] for line in printed] == [
        f"[1/3] {A.name}: ok",
        f"[2/3] {B.name}: crash",
        f"[3/3] {C.name}: ok",
    ]
    assert "it fell" in printed[1]


# --- points that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_point_that_fails_gets_its_status_and_reason_and_the_sweep_goes_on(sweep: Sweeps, status: str) -> None:
    failed = Outcome(failure=Failure(status=status, reason="because"), output="last words")
    sweep([A, B, C], Launcher(ends={B.name: failed}))
    assert sweep.rows == [(A.name, "ok"), (B.name, status), (C.name, "ok")]
    line = summary(sweep.path)[1]
    assert (line["reason"], line["strategy"], line["batch"]) == ("because", "sequential", "2")
    assert line["fps"] == line["device"] == line["speedup"] == ""
    stored = strict_json(sweep.path / "points" / f"{B.name}.json")
    assert stored["details"] == {"output": "last words", "traceback": None}
    assert stored["config"]["batch"] == 2
    assert stored["samples"] == []


def test_where_a_workload_can_not_be_made_all_its_points_end_so_and_others_are_measured(sweep: Sweeps) -> None:
    launcher = Launcher(encodings={A.name: CRASH})
    sweep([A, B, OTHER], launcher)
    assert launcher.asked == [("encode", A.name), ("encode", OTHER.name), ("measure", OTHER.name)]
    assert sweep.rows == [(A.name, "crash"), (B.name, "crash"), (OTHER.name, "ok")]
    assert {line["reason"] for line in summary(sweep.path)[:2]} == {"it fell"}


def test_bad_input_of_a_point_is_raised_when_all_others_are_measured(sweep: Sweeps) -> None:
    launcher = Launcher(ends={A.name: REFUSED})
    with pytest.raises(UserError, match="the first target is broken"):
        sweep([A, B, OTHER], launcher)
    assert launcher.measured == [A.name, B.name, OTHER.name]
    assert sweep.rows == [(A.name, "skipped"), (B.name, "ok"), (OTHER.name, "ok")]


def test_bad_input_of_a_workload_is_raised_when_all_others_are_measured(sweep: Sweeps) -> None:
    with pytest.raises(UserError, match="the first target is broken"):
        sweep([A, B, OTHER], Launcher(encodings={A.name: REFUSED}))
    assert sweep.rows == [(A.name, "skipped"), (B.name, "skipped"), (OTHER.name, "ok")]


def test_of_several_complaints_the_first_is_raised(sweep: Sweeps) -> None:
    second = Outcome(failure=Failure(status="skipped", reason="so is the second", refused=True))
    with pytest.raises(UserError, match="the first target is broken"):
        sweep([A, B], Launcher(ends={A.name: REFUSED, B.name: second}))


def test_a_batch_larger_than_any_group_starts_nothing(sweep: Sweeps) -> None:
    launcher = Launcher()
    large, larger = point(batch=6, targets=5), point(batch=7, targets=5)
    sweep([large, larger], launcher)
    assert launcher.asked == []
    assert sweep.rows == [(large.name, "skipped"), (larger.name, "skipped")]
    assert "batch=6 is more than the 5 targets" in summary(sweep.path)[0]["reason"]


def test_a_skipped_point_takes_no_workload_from_those_after_it(sweep: Sweeps) -> None:
    launcher = Launcher()
    large, fitting = point(batch=6, targets=5), point(batch=2, targets=5)
    sweep([large, fitting], launcher)
    assert launcher.asked == [("encode", fitting.name), ("measure", fitting.name)]
    assert sweep.rows == [(large.name, "skipped"), (fitting.name, "ok")]


# --- interrupted ---------------------------------------------------------------------------------------------------


def test_an_interrupt_ends_the_sweep_at_once_and_finished_points_stay(sweep: Sweeps) -> None:
    launcher = Launcher(ends={B.name: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        sweep([A, B, C], launcher)
    assert launcher.measured == [A.name, B.name]
    assert sweep.rows == [(A.name, "ok")]
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


# --- resumed -------------------------------------------------------------------------------------------------------


def test_a_resumed_sweep_starts_only_what_has_no_result_yet(sweep: Sweeps) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep([A, B, C], Launcher(ends={B.name: KeyboardInterrupt()}))
    again = Launcher()
    printed = sweep([A, B, C], again)
    assert again.asked == [("encode", B.name), ("measure", B.name), ("measure", C.name)]
    assert sweep.rows == [(A.name, "ok"), (B.name, "ok"), (C.name, "ok")]
    assert printed.startswith("1 of 3 points have their results already\n[2/3] ")


def test_a_resumed_sweep_with_nothing_left_starts_nothing(sweep: Sweeps) -> None:
    sweep([A, OTHER], Launcher())
    again = Launcher()
    sweep([A, OTHER], again)
    assert again.asked == []
    assert sweep.rows == [(A.name, "ok"), (OTHER.name, "ok")]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_resumed_sweep_tries_failures_again(sweep: Sweeps, status: str) -> None:
    sweep([A, B], Launcher(ends={A.name: Outcome(failure=Failure(status=status, reason="because"))}))
    again = Launcher()
    sweep([A, B], again)
    assert again.measured == [A.name]
    assert sorted(sweep.rows) == sorted([(A.name, "ok"), (B.name, "ok")])


@pytest.mark.parametrize("depends_on", ["config", "code", "environment"])
def test_a_result_of_other_options_other_code_or_another_machine_is_measured_again(
    sweep: Sweeps, depends_on: str
) -> None:
    sweep([A, B], Launcher())
    stored = sweep.path / "points" / f"{A.name}.json"
    content = strict_json(stored)
    assert sorted(content["identity"]) == ["code", "config", "environment"]
    content["identity"][depends_on] = "0" * 64
    stored.write_text(json.dumps(content), encoding="utf-8")
    again = Launcher()
    sweep([A, B], again)
    assert again.measured == [A.name]


def test_a_result_without_an_identity_is_measured_again(sweep: Sweeps) -> None:
    RunFolder(sweep.path).add(PointResult(row=Row(**row(A.name)), config={}))
    again = Launcher()
    sweep([A], again)
    assert again.measured == [A.name]


def test_points_of_another_grid_stay_in_the_summary(sweep: Sweeps) -> None:
    sweep([A], Launcher())
    sweep([OTHER], Launcher())
    assert sweep.rows == [(A.name, "ok"), (OTHER.name, "ok")]
    assert [entry["point"] for entry in strict_json(sweep.path / "plan.json")] == [OTHER.name]


# --- the folder of the features ------------------------------------------------------------------------------------


def test_what_killed_runs_left_behind_is_removed_by_the_next_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("killed", "in_use"):
        (tmp_path / f"{PREFIX}{name}").mkdir()
        (tmp_path / f"{PREFIX}{name}" / "lock").touch()
    (tmp_path / "of_somebody_else").mkdir()
    with (tmp_path / f"{PREFIX}in_use" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch_folder() as folder, scratch_folder() as second:
            assert {path.name for path in tmp_path.iterdir()} == {
                *("of_somebody_else", f"{PREFIX}in_use", folder.name, second.name),
            }
            assert folder != second
        assert {path.name for path in tmp_path.iterdir()} == {"of_somebody_else", f"{PREFIX}in_use"}


# --- tracebacks ----------------------------------------------------------------------------------------------------


def fallen() -> Outcome:
    """Return the outcome, in this process, of a point whose strategy raised."""
    try:
        raise ZeroDivisionError("it fell")
    except ZeroDivisionError as error:
        return Outcome(failure=failure_of(error), error=error)


def test_a_traceback_is_stored_whole_and_shown_below_its_points_line(sweep: Sweeps) -> None:
    fell = Outcome(failure=fallen().failure, output="the end of what it printed")
    lines = sweep([A, B], Launcher(ends={A.name: fell})).splitlines()
    stored = strict_json(sweep.path / "points" / f"{A.name}.json")["details"]
    assert stored["output"] == "the end of what it printed"
    assert stored["traceback"].startswith("Traceback (most recent call last):")
    assert stored["traceback"].endswith("ZeroDivisionError: it fell\n")
    at = next(place for place, line in enumerate(lines) if A.name in line)
    assert "Traceback" in lines[at + 1]
    assert "in fallen" in lines[at + 2]
    assert "raise ZeroDivisionError" in lines[at + 3]


def test_bad_input_has_no_traceback(sweep: Sweeps) -> None:
    launcher = Launcher(ends={A.name: REFUSED})
    with pytest.raises(UserError):
        sweep([A], launcher)
    assert strict_json(sweep.path / "points" / f"{A.name}.json")["details"]["traceback"] is None


def test_what_was_raised_in_this_process_is_raised_again_when_all_points_are_stored(sweep: Sweeps) -> None:
    first, second = fallen(), fallen()
    with pytest.raises(ZeroDivisionError) as caught:
        sweep([A, B, C], Launcher(ends={A.name: first, B.name: second}))
    assert caught.value is first.error
    assert "fallen" in {frame.name for frame in caught.traceback}, "a debugger gets to where it was raised"
    assert sweep.rows == [(A.name, "crash"), (B.name, "crash"), (C.name, "ok")]
