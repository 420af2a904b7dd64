"""The files of a run: whole or not there, readable by anyone, and no cell that was not measured."""

from __future__ import annotations

import csv
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.result import Block, PointResult
from harness.row import COLUMNS, STATUSES, Row
from harness.store.results import RunFolder
from harness.store.summary import rows_in
from tests.support.harness_runs import ended, row, strict_json, summary

ROW = Row(**row("one"))


def result(name: str = "one", **changes: Any) -> PointResult:
    return PointResult(row=Row(**row(name, **changes)), config={"batch": 1})


def block(number: int = 0, seconds: float = 1.0) -> Block:
    return Block(group="bees", round=number, place=1, side="candidate", targets=2, seconds=seconds, cpu_seconds=0.5)


# --- a point -------------------------------------------------------------------------------------------------------


def test_a_point_is_stored_with_its_row_its_options_and_every_sample_in_order(tmp_path: Path) -> None:
    samples = [block(number, seconds) for number, seconds in enumerate([0.5, 0.25, 0.75])]
    details = {"agreement": {"per_object": {"bees/1": {"iou_mean": 1.0}}}}
    RunFolder(tmp_path / "run").add(PointResult(row=ROW, config={"batch": 1}, samples=samples, details=details))
    stored = strict_json(tmp_path / "run" / "points" / "one.json")
    assert stored["row"] == asdict(ROW)
    assert stored["config"] == {"batch": 1}
    assert stored["details"] == details
    assert [sample["seconds"] for sample in stored["samples"]] == [0.5, 0.25, 0.75]
    assert stored["samples"][1] == asdict(samples[1])
    assert PointResult.from_json(stored) == PointResult(row=ROW, config={"batch": 1}, samples=samples, details=details)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_can_be_stored(status: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result(status=status))
    assert [line["status"] for line in summary(run.path)] == [status]


# --- numbers that JSON can't hold ----------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_become_null_wherever_they_are(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(
        PointResult(
            row=Row(**row("one", max_abs_dlogit=math.inf, iou_min=0.5)),
            config={"nested": [math.nan, 1.5, (math.inf, "inf")]},
            samples=[block(seconds=math.inf)],
            details={"agreement": {"relative_dlogit": -math.inf, "per_object": {"bees/1": {"iou_mean": math.nan}}}},
        )
    )
    stored = strict_json(tmp_path / "run" / "points" / "one.json")
    assert stored["row"]["max_abs_dlogit"] is None
    assert stored["row"]["iou_min"] == 0.5
    assert stored["config"] == {"nested": [None, 1.5, [None, "inf"]]}
    assert stored["samples"][0]["seconds"] is None
    assert stored["details"]["agreement"] == {"relative_dlogit": None, "per_object": {"bees/1": {"iou_mean": None}}}


def test_any_file_of_a_run_is_strict_json(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_json("environment.json", {"memory": math.nan, "name": "Prozeßor", "cores": 2, "gpu": None, "ok": True})
    stored = strict_json(tmp_path / "run" / "environment.json")
    assert stored == {"memory": None, "name": "Prozeßor", "cores": 2, "gpu": None, "ok": True}


# --- the summary ---------------------------------------------------------------------------------------------------


def test_the_summary_has_a_line_a_point_and_the_columns_in_their_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result("one"))
    run.add(result("two", batch=8))
    with (run.path / "summary.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert [line[0] for line in lines] == ["one", "two"]
    assert [line[COLUMNS.index("batch")] for line in lines] == ["1", "8"]
    assert run.rows == [ROW, Row(**row("two", batch=8))]


def test_what_was_not_measured_is_an_empty_cell_and_what_was_zero_is_zero(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result("one", gate_flips=0, iou_min=0.0, vram_peak_mb=None))
    run.add(PointResult(row=Row(**ended("two", "crash", "it fell")), config={}))
    one, two = summary(run.path)
    assert one["gate_flips"] == "0"
    assert float(one["iou_min"]) == 0
    assert one["vram_peak_mb"] == one["reason"] == one["jf"] == ""
    assert two["fps"] == two["gate_flips"] == ""
    assert two["reason"] == "it fell"


def test_reasons_and_commands_survive_commas_quotes_lines_and_other_alphabets(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    reason = 'no room, "said" the kernel\nand 木 agreed'
    command = "python -m harness 'data.clips=[a,b]'"
    run.add(PointResult(row=Row(**ended("one", "crash", reason, command=command)), config={}))
    (line,) = summary(run.path)
    assert (line["reason"], line["command"]) == (reason, command)


def test_a_reason_of_any_length_is_cut_in_the_summary_and_kept_with_the_point(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    reason = "x" * 200_000
    run.add(PointResult(row=Row(**ended("one", "crash", reason)), config={}))
    (line,) = rows_in(run.path / "summary.csv").values()
    assert line["reason"].startswith("x" * 1000)
    assert line["reason"].endswith("... (200,000 characters; the point's file has all of them)")
    assert strict_json(run.path / "points" / "one.json")["row"]["reason"] == reason


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''@x", "'quoted'", "1=1"])
def test_a_spreadsheet_runs_no_text_as_a_formula_and_it_is_read_back_as_it_was(tmp_path: Path, text: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result("one", reason=text, variant=text))
    (raw,) = summary(run.path)
    (line,) = rows_in(run.path / "summary.csv").values()
    for name in ("reason", "variant"):
        assert raw[name][0] not in "=+-@\t\r"
        assert line[name] == text


def test_a_negative_number_stays_one(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result("one", gpu_temperature_c=-5.0))
    assert summary(run.path)[0]["gpu_temperature_c"] == "-5.0"


def test_a_point_measured_again_replaces_its_row(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.add(result("one", fps=1.0))
    run.add(result("one", fps=2.0))
    assert [line["fps"] for line in summary(run.path)] == ["2.0"]


def test_after_every_point_the_files_hold_all_points_so_far(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    for count, name in enumerate(["one", "two", "three"], start=1):
        run.add(result(name))
        assert len(summary(run.path)) == count
        assert len(list((run.path / "points").iterdir())) == count


# --- whole files ---------------------------------------------------------------------------------------------------


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    content = ["x" * 50] * 20_000
    run.write_json("plan.json", content)
    finished = threading.Event()

    def read() -> set[int]:
        seen: set[int] = set()
        while not finished.is_set() or not seen:
            seen.add(len(json.loads((run.path / "plan.json").read_text(encoding="utf-8"))))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for _ in range(15):
            run.write_json("plan.json", content)
        finished.set()
        assert reader.result(timeout=60) == {20_000}


def test_no_unfinished_files_stay_behind(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_json("plan.json", [])
    run.add(result("one"))
    files = sorted(path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file())
    assert files == ["plan.json", "points/one.json", "summary.csv"]


def test_a_file_that_can_not_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_json("plan.json", ["before"])
    with pytest.raises(TypeError):
        run.write_json("plan.json", ["after", object()])
    assert strict_json(run.path / "plan.json") == ["before"]


# --- latest --------------------------------------------------------------------------------------------------------


def test_latest_is_a_link_to_the_newest_run(tmp_path: Path) -> None:
    latest = tmp_path / "latest"
    for name in ("first", "second"):
        RunFolder(tmp_path / name).add(result(name))
        assert latest.is_symlink()
        assert [line["point"] for line in summary(latest)] == [name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest", "second"]


def test_latest_still_points_there_when_the_results_are_moved(tmp_path: Path) -> None:
    RunFolder(tmp_path / "results" / "first").add(result("one"))
    moved = (tmp_path / "results").rename(tmp_path / "elsewhere")
    assert len(summary(moved / "latest")) == 1


def test_a_folder_of_the_users_called_latest_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "latest" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    RunFolder(tmp_path / "run").add(result("one"))
    assert mine.read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run"]
