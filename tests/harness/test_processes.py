"""Points that several processes measure: their turns, what is kept of each, and the one row that they make.

The launcher is one that only says what a process found; the last tests have the harness itself.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.isolate.failures import Failure
from harness.isolate.isolation import Outcome
from harness.isolate.jobs import EncodeJob, Job, MeasureJob
from harness.options.config import TimingConfig
from harness.options.points import Point
from harness.result import Block, PointResult
from harness.row import Row
from harness.stats.speedup import estimate_over_processes
from tests.support.commands import start
from tests.support.harness_runs import TINY, only_run, point, row, run_here, strict_json, summary, wait_for
from tests.support.report_runs import text_of
from tests.support.sweeps import Sweeps

RATIOS = ([0.68, 0.7, 0.72, 0.69, 0.71], [0.8, 0.82, 0.81, 0.79, 0.83], [0.7, 0.73, 0.74, 0.71, 0.69])
"""Log-ratios of the rounds of each process; the second one had a neighbour."""


def timed(point: Point, number: int) -> PointResult:
    """What a process found, as `measure_point` and `time_again` give it."""
    ratios = RATIOS[number]
    seconds = [(2.0, 2 / math.exp(ratio)) for ratio in ratios]
    sides = ("baseline", "candidate", "candidate", "baseline")
    blocks = [
        Block(
            group="one",
            round=at,
            place=place,
            side=side,
            targets=4,
            seconds=slow if side == "baseline" else fast,
            cpu_seconds=fast,
        )
        for at, (slow, fast) in enumerate(seconds)
        for place, side in enumerate(sides)
    ]
    counters = {"seconds": 10.0, "own_s": 5.0, "processors_s": 20.0, "busy_s": 5.0 + 4 * number, "steal_s": 0.0}
    missing = {"involuntary_switches": None, "pressure_s": None, "group_pressure_s": None}
    verified = {"iou_min": 1.0, "jf": 0.9, "gflop_per_target": 2.0, "matrix_gflop_per_s": 100.0} if number == 0 else {}
    made = Row(
        **row(point.name, strategy=point.strategy, **verified)
        | {"fps": 2.0, "objects_per_s": 8.0, "blocks": len(blocks), "processes": 1, "checked_calls": 10}
    )
    details = {"timed_targets": {"one": 4}, "log_ratios": {"one": ratios}, "contention": counters | missing}
    return PointResult(row=made, config=point.options, samples=blocks, details=details)


@dataclass(kw_only=True)
class Launcher:
    """ends: turns, by point and process, that do not end well."""

    ends: dict[tuple[str, int], Outcome | BaseException] = field(default_factory=dict)
    watch: Callable[[Job], None] = lambda job: None
    asked: list[tuple[str, int]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __call__(self, point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome:
        self.watch(job)
        if isinstance(job, EncodeJob):
            self.asked.append(("encode", 0))
            return Outcome()
        assert isinstance(job, MeasureJob)
        assert job.folder.is_dir()
        self.folders.append(job.folder)
        self.asked.append((point.strategy, job.process))
        end = self.ends.get((point.strategy, job.process), Outcome(result=timed(point, job.process)))
        if isinstance(end, BaseException):
            raise end
        return end


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return Sweeps(path=tmp_path / "run")


THREE = TimingConfig(processes=3, min_seconds=0, min_rounds=3)
A, B = (point(strategy, batch=2, timing=THREE) for strategy in ("direct", "rebuild"))
ALONE = point("sequential", batch=2)
OTHER = point("direct", batch=2, targets=5, timing=THREE)
"""A point of another workload."""
CRASH = Outcome(failure=Failure(status="crash", reason="it fell"))


# --- turns ---------------------------------------------------------------------------------------------------------


def test_all_points_take_their_first_turn_before_any_takes_its_second(sweep: Sweeps) -> None:
    launcher = Launcher()
    sweep([A, ALONE, B], launcher)
    assert launcher.asked == [
        *[("encode", 0), ("direct", 0), ("sequential", 0), ("rebuild", 0)],
        *[("direct", 1), ("rebuild", 1), ("direct", 2), ("rebuild", 2)],
    ]


def test_features_are_made_once_and_stay_until_the_last_turn_that_needs_them(sweep: Sweeps) -> None:
    left: list[int] = []
    temporary = Path(tempfile.gettempdir())
    launcher = Launcher(watch=lambda job: left.append(len(list(temporary.iterdir()))))
    sweep([A, OTHER], launcher)
    assert [what for what, _ in launcher.asked].count("encode") == 2
    assert len(set(launcher.folders)) == 2
    assert left == [1, 1, 2, 2, 2, 2, 2, 1], "before each job: two workloads, the first gone before the last turn"
    assert list(temporary.iterdir()) == []


def test_points_of_one_process_leave_no_more_files_than_ever(sweep: Sweeps) -> None:
    sweep([ALONE], Launcher())
    assert not (sweep.path / "processes").exists()


def test_processes_in_this_process_are_said_to_be_repetitions(sweep: Sweeps) -> None:
    told = sweep([point("direct", batch=2, timing=THREE, isolation="inline")], Launcher())
    assert "repetitions in one process" in told
    assert "repetitions" not in Sweeps(path=sweep.path.with_name("another"))([A], Launcher())


# --- one row -------------------------------------------------------------------------------------------------------


def test_the_row_has_the_interval_over_processes_and_all_their_blocks(sweep: Sweeps) -> None:
    sweep([A], Launcher())
    merged = sweep.stored(A)
    wanted = estimate_over_processes([[ratios] for ratios in RATIOS], [1.0])
    assert (merged.row.speedup, merged.row.speedup_lo, merged.row.speedup_hi) == (wanted.ratio, wanted.lo, wanted.hi)
    assert (merged.row.processes, merged.row.blocks, merged.row.checked_calls) == (3, 60, 30)
    assert [block.process for block in merged.samples] == [0] * 20 + [1] * 20 + [2] * 20
    assert merged.details["log_ratios"] == {"one": [*RATIOS[0], *RATIOS[1], *RATIOS[2]]}
    assert len(merged.details["outliers"]["one"]) == 15
    assert (merged.row.iou_min, merged.row.jf) == (1.0, 0.9), "as the first process verified them"
    seconds = sorted(block.seconds for block in merged.samples if block.side == "candidate")
    assert merged.row.fps == pytest.approx(4 / seconds[len(seconds) // 2], rel=0.02)
    assert merged.row.gflop_per_s == pytest.approx(2 * merged.row.fps)
    assert merged.row.objects_per_s == pytest.approx(4 * merged.row.fps)
    assert merged.row.cpu_others == pytest.approx(12 / 60)
    assert merged.row.disturbed is True
    assert [one["contention"]["busy_s"] for one in merged.details["processes"]] == [5, 9, 13]


@pytest.mark.parametrize(("width", "converged"), [(1e-6, False), (10.0, True)])
def test_it_has_converged_where_the_interval_over_processes_is_narrow(
    sweep: Sweeps, width: float, converged: bool
) -> None:
    asked = point("direct", batch=2, timing=replace(THREE, width=width))
    sweep([asked], Launcher())
    assert sweep.stored(asked).row.converged is converged


def test_a_row_is_there_from_the_first_turn_on(sweep: Sweeps) -> None:
    seen: list[list[str]] = []
    launcher = Launcher(watch=lambda job: seen.append([line["processes"] for line in summary(sweep.path)]))
    told = sweep([A, B], launcher)
    assert seen == [[], [], ["1"], ["1", "1"], ["2", "1"], ["2", "2"], ["3", "2"]]
    assert f"{A.name}: process 2 of 3" in told
    assert f"[1/2] {A.name}: ok" in told
    assert f"[2/2] {B.name}: ok" in told


# --- what fails ----------------------------------------------------------------------------------------------------


def test_a_process_that_fails_ends_its_point_and_no_other(sweep: Sweeps) -> None:
    launcher = Launcher(ends={("direct", 1): CRASH})
    told = sweep([A, B], launcher)
    assert sweep.stored(A).row.status == "crash"
    assert sweep.stored(A).row.reason == "in process 2 of 3: it fell"
    assert sweep.stored(A).row.speedup is None
    assert sweep.stored(B).row.processes == 3
    assert ("direct", 2) not in launcher.asked
    assert f"[1/2] {A.name}: crash" in told


def test_after_a_failure_only_the_missing_processes_are_measured_again(sweep: Sweeps) -> None:
    sweep([A, B], Launcher(ends={("direct", 1): CRASH}))
    before = sweep.process_files()
    again = Launcher()
    sweep([A, B], again)
    assert again.asked == [("encode", 0), ("direct", 1), ("direct", 2)]
    assert (sweep.stored(A).row.status, sweep.stored(A).row.processes) == ("ok", 3)
    after = sweep.process_files()
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("turn", [("direct", 0), ("rebuild", 0), ("direct", 1), ("rebuild", 1), ("rebuild", 2)])
def test_a_run_that_was_cut_off_anywhere_goes_on_there_and_ends_as_if_it_had_not_been(
    sweep: Sweeps, turn: tuple[str, int]
) -> None:
    whole = Sweeps(path=sweep.path.with_name("whole"))
    order = Launcher()
    whole([A, B], order)
    with pytest.raises(KeyboardInterrupt):
        sweep([A, B], Launcher(ends={turn: KeyboardInterrupt()}))
    again = Launcher()
    sweep([A, B], again)
    assert again.asked == [("encode", 0), *order.asked[order.asked.index(turn) :]]
    assert sweep.process_files().keys() == whole.process_files().keys()
    assert [sweep.stored(one) for one in (A, B)] == [whole.stored(one) for one in (A, B)]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"row": {}}'),
        *({"details": {"log_ratios": {"one": ["fast"]}}}, {"details": {"timed_targets": {"two": 4}}}),
        *({"details": {"contention": {"seconds": "long"}}}, {"samples": []}, {"row": {"fps": None}}),
    ],
)
def test_what_is_damaged_is_measured_again(sweep: Sweeps, content: str | dict[str, Any]) -> None:
    sweep([A], Launcher())
    whole = sweep.stored(A)
    file = sweep.path / "processes" / f"{A.name}-1.json"
    if isinstance(content, dict):
        stored = strict_json(file)
        changed = {key: stored[key] | new if isinstance(new, dict) else new for key, new in content.items()}
        content = json.dumps(stored | changed)
    file.write_text(content, encoding="utf-8")
    (sweep.path / "points" / f"{A.name}.json").unlink()
    again = Launcher()
    sweep([A], again)
    assert again.asked == [("encode", 0), ("direct", 1)]
    assert sweep.stored(A) == whole


def test_a_point_whose_processes_all_ended_before_the_cut_needs_one_of_them_only(sweep: Sweeps) -> None:
    sweep([A], Launcher())
    whole = sweep.stored(A)
    (sweep.path / "points" / f"{A.name}.json").unlink()
    again = Launcher()
    sweep([A], again)
    assert again.asked == [("encode", 0), ("direct", 2)]
    assert sweep.stored(A) == whole


# --- the harness itself --------------------------------------------------------------------------------------------

PAIRED = (
    "paired=true",
    "strategy=direct,sequential",
    "batch=2",
    "timing.max_seconds=1",
    "timing.min_rounds=2",
    "timing.width=9",
    "refs=1",
)


@pytest.mark.slow
def test_the_command_measures_points_in_turns_and_reports_them(tmp_path: Path) -> None:
    done = run_here(tmp_path, *TINY, *PAIRED, "timing.processes=2", "pictures=0")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "results")
    rows = summary(folder)
    assert [line["processes"] for line in rows] == ["2", "2"]
    for line in rows:
        lo, ratio, hi = (float(line[name]) for name in ("speedup_lo", "speedup", "speedup_hi"))
        assert lo < ratio < hi
    assert all(float(line["iou_min"]) > 0.99 for line in rows)
    for line in rows:
        (first, second) = (
            strict_json(folder / "processes" / f"{line['point']}-{number}.json")["row"] for number in (0, 1)
        )
        assert first["iou_min"] is not None
        assert second["iou_min"] is None, "only the first process verifies every mask"
        assert second["checked_calls"] > 0, "and each checks those that it times"
    assert "repetitions in one process" in done.stderr
    assert "direct" in text_of(folder)


@pytest.mark.slow
@pytest.mark.processes
def test_a_run_that_was_killed_between_processes_loses_none_that_had_ended(tmp_path: Path) -> None:
    words = [*TINY, *PAIRED, "strategy=direct", "timing.processes=2", "pictures=0", "compare=false"]
    started = start(tmp_path, *words)
    try:
        wait_for(lambda: any(tmp_path.glob("results/*/processes/*-0.json")))
    finally:
        started.kill()
        started.communicate()
    folder = only_run(tmp_path / "results")
    (first,) = folder.glob("processes/*.json")
    content, written = first.read_bytes(), first.stat().st_mtime_ns
    going_on = run_here(tmp_path, *words, "resume=true")
    assert going_on.returncode == 0, going_on.stderr
    assert (first.read_bytes(), first.stat().st_mtime_ns) == (content, written)
    (line,) = summary(folder)
    assert (line["processes"], line["status"]) == ("2", "ok")
