"""What a report says of every point, of its cost and of where it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.result import PointResult
from harness.row import Row
from harness.store.results import RunFolder
from report import write_report
from report.reading.run import read_run
from tests.support.harness_runs import row
from tests.support.report_runs import (
    AGREED,
    CONFIG,
    ENVIRONMENT,
    FASTER,
    GPU,
    report_of,
    run_folder,
    table_cells,
    table_lines,
    text_of,
    unescaped,
)

MASKS = "Are the masks the same"


@pytest.mark.parametrize("plan", ['[{"point": "one"}, {"point": "two"}]', "[", "{}", "[3]", None])
def test_rows_stand_in_the_order_of_the_sweep_however_they_were_measured(tmp_path: Path, plan: str | None) -> None:
    run = run_folder(tmp_path / "run", [row("two", batch=2), row("one", batch=1), row("new", batch=3)])
    if plan is not None:
        (run / "plan.json").write_text(plan, encoding="utf-8")
    planned = plan is not None and "one" in plan
    assert list(read_run(run).summary["batch"]) == ([1, 2, 3] if planned else [2, 1, 3])


def test_every_point_has_its_line_and_its_command(tmp_path: Path) -> None:
    rows = [
        row("first", batch=1, fps=10.0, command="python -m harness strategy=direct batch=1", **AGREED),
        row("second", batch=8, fps=44.44, command="python -m harness strategy=direct batch=8", **AGREED),
        row("third", strategy="sequential", variant="", fps=4.0, command="python -m harness strategy=sequential"),
    ]
    text = report_of(tmp_path / "run", rows)
    lines = table_lines(text)
    assert [line.split("|")[1].strip() for line in lines] == ["direct (shared)", "direct (shared)", "sequential"]
    assert "44.4" in lines[0], "the fastest comes first"
    assert "0.9912" in table_lines(text, MASKS)[1]
    assert len(table_lines(text, MASKS)) == 2, "those that were compared"
    assert "nan" not in text
    assert "None" not in text
    for one in rows:
        assert one["point"] in text
        assert one["command"] in text
    assert "What did not work" not in text


def test_columns_that_no_point_has_are_left_out(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert "vram_peak_mb" not in text
    assert "iou_min" not in text


def test_the_report_says_where_it_was_measured(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")], environment=ENVIRONMENT | {"gpu": GPU, "git_commit": "abc123"})
    for word in ("a processor", "2 cores", "avx2", "3.11.0", "torch: 2.11.0", "a card", "CUDA 13.0", "abc123"):
        assert word in text, word
    assert "triton" not in text, "it was not installed"


def test_writing_a_report_again_changes_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    first = write_report(folder).read_text(encoding="utf-8")
    assert write_report(folder).read_text(encoding="utf-8") == first


def test_costs_have_a_table(tmp_path: Path) -> None:
    costs = {"gflop_per_s": 44.32, "matrix_share": 0.2678, "projected_min": 7.31, "cpu_s_per_1000": 1.694}
    text = report_of(tmp_path / "run", [row("one", **costs), row("two", batch=8)], config=CONFIG)
    (cells,) = table_cells(text, "Memory and arithmetic")
    assert (cells["strategy"], cells["batch"], cells["objects"]) == ("direct (shared)", "1", "4")
    assert (cells["matrix_share"], cells["gflop_per_s"], cells["cpu_s_per_1000"]) == ("26.8%", "44.3", "1.69")
    assert [one["projected_min"] for one in table_cells(text, "Your job")] == ["7.3", ""]
    assert "a job of 29,066 targets" in text
    assert MASKS not in text
    assert "### GPU" not in text


def test_what_the_gpu_did_has_a_table(tmp_path: Path) -> None:
    of_gpu = {"gpu_util_mean": 91.2, "gpu_power_w": 512.3, "throttle": "sw power cap", "foreign_processes": 0}
    text = report_of(tmp_path / "run", [row("one", **of_gpu), row("two", batch=8, gpu_util_mean=50.0, throttle="")])
    first, second = table_cells(text, "GPU, while the strategy ran alone")
    assert (first["gpu_util_mean"], first["gpu_power_w"], first["throttle"]) == ("91", "512", "sw power cap")
    assert first["foreign_processes"] == "0"
    assert (second["gpu_util_mean"], second["gpu_power_w"], second["throttle"]) == ("50", "", "")


def test_the_set_up_is_shown_with_its_parts(tmp_path: Path) -> None:
    parts = {"process": 3.04, "model": 0.52, "features": 0.11}
    rows = [row("one", setup_s=3.67), row("two", batch=8, setup_s=5.0)]
    text = report_of(tmp_path / "run", rows, details={"one": {"setup_seconds": parts}})
    first, second = table_cells(text, "Where the time goes")
    names = ("setup_s", "process (s)", "model (s)", "features (s)")
    assert [first[name] for name in names] == ["3.7", "3.0", "0.5", "0.1"]
    assert (second["setup_s"], second["model (s)"]) == ("5.0", "")
    (without,) = table_cells(report_of(tmp_path / "without", [row("one")]), "Where the time goes")
    assert "setup_s" not in without


@pytest.mark.slow
def test_rates_of_the_encoder_that_differ_are_shown_as_a_range(tmp_path: Path) -> None:
    def described(*rates: float) -> str:
        rows = [row(f"point{at}", batch=at + 1, encode_fps=rate) for at, rate in enumerate(rates)]
        return report_of(tmp_path / str(rates), rows).split("took in ")[1].split("; ")[0]

    assert described(80.0, 84.0, 82.0) == "82.0 frames/s"
    assert described(80.0, 60.0, 90.25) == "60.0-90.2 frames/s"


def test_the_encoder_without_reading_and_storing_has_its_share_of_the_matrix_rate(tmp_path: Path) -> None:
    took = {"encoded_frames": 40, "network_seconds": 0.5, "matrix_share": 0.4321}
    rows = [row("one", encode_fps=30.0), row("two", batch=8, encode_fps=30.0)]
    text = report_of(tmp_path / "run", rows, details={name: {"encoder": took} for name in ("one", "two")})
    assert "the encoder itself did 80.0 frames/s, at 43% of the matrix rate" in unescaped(text)
    assert "the encoder itself" not in report_of(tmp_path / "old", rows), "older runs do not tell"


def test_an_encoder_that_is_further_from_fp32_than_rounding_is_marked(tmp_path: Path) -> None:
    part = {"model": "toy", "dtype": "bf16", "batch": 8, "seconds": [0.1], "difference": 0.25, "warm_up_seconds": 1.0}
    checked = {"limit": {"largest": 0.03, "rms": 0.01}}
    parts = {
        "older": part,
        "right": part
        | {"channels_last": True, "checked": checked | {"fault": None}}
        | {"flops_per_frame": 1e9, "matrix_flop_per_s": 2e11},
        "wrong": part | {"compiled": True, "checked": checked | {"fault": "by far"}},
    }
    folder = run_folder(tmp_path / "run", [row("one")])
    (folder / "encoder.json").write_text(json.dumps({"identity": {}, "status": "ok", "parts": parts, "left": []}))
    table = encoders(text_of(folder))
    found = {cells["how"]: (cells["features"], cells["rounding explains"]) for cells in table}
    assert found == {"eager": ("", ""), "channels last": ("right", "3.0e-02"), "compiled": ("wrong", "3.0e-02")}
    assert {cells["how"]: cells["of the matrix rate"] for cells in table if cells["of the matrix rate"]} == {
        "channels last": "40.0%"
    }


def encoders(text: str) -> list[dict[str, str]]:
    return table_cells(text, "The encoder")


def test_each_strategy_is_described_in_a_line(tmp_path: Path) -> None:
    rows = [row("one"), row("two", batch=8), row("three", strategy="mine", variant="")]
    options = CONFIG | {"strategy": {"_target_": "strategies.direct.Direct"}}
    folder = run_folder(tmp_path / "run", rows, config=options)
    foreign = PointResult(row=Row(**rows[2]), config=CONFIG | {"strategy": {"_target_": "mine.Own"}})
    RunFolder(folder).add(foreign)
    text = write_report(folder).read_text(encoding="utf-8").split("## All points")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert lines == [
        "- `direct`: the model's components called directly, batched over targets and objects.",
    ]
    assert "In parentheses: how a strategy's options are set." in text


def test_columns_of_cost_are_explained_where_they_are_shown(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", cpu_s_per_1000=1.5, sdpa="flash+math")])
    assert "`cpu_s_per_1000` is CPU seconds" in text
    assert "`sdpa` names the kernels" in text
    without = report_of(tmp_path / "without", [row("one", peak_rss_mb=500.0)])
    assert "CPU seconds, of all cores" not in without
    assert "names the kernels" not in without


@pytest.mark.parametrize(("processes", "told"), [(None, False), (1, False), (3, True)])
def test_how_several_processes_make_one_interval_is_told_where_there_are_any(
    tmp_path: Path, processes: int | None, told: bool
) -> None:
    _, _, trust = report_of(tmp_path / "run", [row("one", processes=processes, **FASTER)]).partition("## How far")
    assert ("a bootstrap on two levels" in trust) is told


def test_points_that_were_disturbed_are_named_with_how_much_others_took(tmp_path: Path) -> None:
    rows = [
        row("calm", batch=1, cpu_others=0.02, disturbed=False),
        row("beside-one", batch=2, cpu_others=0.31, disturbed=True),
        row("beside-two", batch=3, cpu_others=0.52, disturbed=True),
        row("unknown", batch=4),
    ]
    _, _, trust = report_of(tmp_path / "run", rows).partition("## How far to trust it")
    (told,) = [line for line in trust.splitlines() if "disturbed" in line]
    assert told.startswith("- 2 of 3 timed points were disturbed")
    assert "31% to 52%" in told.replace("\\", "")
    assert "beside-one" in told
    assert "beside-two" in told
    assert "calm" not in told
    assert "disturbed" not in report_of(tmp_path / "calm", rows[:1])


def test_of_very_many_points_that_were_disturbed_twelve_are_named(tmp_path: Path) -> None:
    rows = [row(f"point{at:02}", batch=1 + at, cpu_others=0.5, disturbed=True) for at in range(14)]
    (sentence,) = [line for line in report_of(tmp_path, rows).splitlines() if "were disturbed" in line]
    assert sentence.count("`point") == 12
    assert "and 2 more" in sentence
