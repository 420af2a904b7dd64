"""The command line as a user meets it: sweeps, the files they leave, strategies of one's own, failures.

`tests/harness/isolate/test_cut_off.py` has Ctrl-C.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from harness.cli import main
from harness.commands.certify import main as certify
from harness.commands.label import main as label
from harness.gate.check import main as check
from harness.row import COLUMNS
from tests.support.harness_runs import (
    REPORTED,
    TINY,
    exit_code,
    run_here,
    runs,
    strict_json,
    summary,
)

STRATEGIES = '''
from dataclasses import replace
from pathlib import Path

from strategies import Direct, Strategy


class Mine(Direct):
    """One file and one YAML make a strategy."""

    def __init__(self, model, *, colour):
        super().__init__(model)
        Path("colour.txt").write_text(colour)


class Broken(Direct):
    def _predict(self, targets):
        raise ZeroDivisionError("the third bolt is loose\\nsecond line")


class Wrong(Direct):
    def _predict(self, targets):
        right = super()._predict(targets)
        return replace(right, logits=-right.logits)
'''
OF_STREAMS = ("stream_batched", "stream_session")
SHIPPED = ("direct", "extended_session", "multi_session", "propagate", "rebuild", "sequential", "triton")
YAMLS = {
    "mine": "_target_: my_strategies.Mine\ncolour: green\n",
    "broken": "_target_: my_strategies.Broken\n",
    "wrong": "_target_: my_strategies.Wrong\n",
}


ALONE = ("paired=false", "pictures=0", "refs=1")
"""Where nothing is asked about speed-ups."""

GPU_COLUMNS = (
    *("vram_peak_mb", "vram_reserved_mb", "vram_device_mb", "gpu_util_mean", "gpu_power_w", "energy_j_per_1000"),
    *("gpu_temperature_c", "gpu_clock_mhz", "throttle", "foreign_processes"),
)


def own_strategies(folder: Path) -> str:
    """Writes the strategies and their YAMLs into a user's folder; the option that makes them known."""
    (folder / "my_strategies.py").write_text(STRATEGIES)
    (folder / "my_conf" / "strategy").mkdir(parents=True)
    for name, text in YAMLS.items():
        (folder / "my_conf" / "strategy" / f"{name}.yaml").write_text(text)
    return f"hydra.searchpath=[file://{folder / 'my_conf'}]"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A finished command: where it ran, how it ended, what it left."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def run(self) -> Path:
        return runs(self.folder / "results")[0]

    @property
    def rows(self) -> list[dict[str, str]]:
        return summary(self.run)


def only(rows: list[dict[str, str]], strategy: str) -> dict[str, str]:
    (found,) = [row for row in rows if row["strategy"] == strategy]
    return found


# --- a sweep that goes well ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two points, by a command without --multirun, with a name that a shell would split."""
    folder = tmp_path_factory.mktemp("plain")
    words = ("strategy=direct", "batch=2,3", "name='two batches'", *REPORTED, "paired=true")
    return Sweep(folder=folder, done=run_here(folder, *words))


@pytest.mark.slow
def test_listed_values_are_swept_without_a_flag(plain: Sweep) -> None:
    assert plain.done.returncode == 0, plain.done.stderr
    assert [(row["strategy"], row["batch"], row["status"]) for row in plain.rows] == [
        ("direct", "2", "ok"),
        ("direct", "3", "ok"),
    ]


@pytest.mark.slow
def test_the_run_is_a_folder_named_by_time_and_name_and_latest_points_there(plain: Sweep) -> None:
    results = plain.folder / "results"
    assert plain.run.name.endswith("-two batches")
    assert (results / "latest").resolve() == plain.run.resolve()
    figures = {"series", "speedup", "speedup-map", "stages", "throughput"}
    where_memory_differs = {"pareto.png", "pareto.svg"}
    assert {path.name for path in plain.run.iterdir()} - where_memory_differs == {
        *("card.png", "environment.json", "masks.png", "pictures", "plan.json", "points", "report.html", "report.md"),
        *(f"{figure}.{kind}" for figure in figures for kind in ("png", "svg")),
        "summary.csv",
    }


@pytest.mark.slow
def test_the_summary_has_the_documented_columns_and_every_number_that_a_cpu_gives(plain: Sweep) -> None:
    header = (plain.run / "summary.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == ",".join(COLUMNS)
    for row in plain.rows:
        empty = {column for column in COLUMNS if row[column] == ""}
        briefly = {"cpu_others", "disturbed"}  # They may be empty: a point of a few blocks is hardly watched.
        of_others = set(COLUMNS[COLUMNS.index("read_busy") : COLUMNS.index("job_iou_min") + 1])
        of_others |= set(COLUMNS[COLUMNS.index("step_p50_ms") : COLUMNS.index("floor_iou") + 1])
        assert empty - briefly == {"reason", "fp32_masks", *GPU_COLUMNS, *of_others}, "fp32 needs no other in fp32"
        assert row["verdict"] in ("faster", "slower", "same", "unclear")
        assert (row["objects"], row["refs"], row["targets"], row["variant"]) == ("2", "2", "3", "shared")
        assert float(row["fps"]) > 0
        assert float(row["iou_min"]) > 0.99
        assert int(row["gate_flips"]) == int(row["pick_flips"]) == 0


@pytest.mark.slow
def test_every_point_has_a_file_with_its_row_its_options_and_its_samples(plain: Sweep) -> None:
    assert sorted(path.stem for path in (plain.run / "points").iterdir()) == sorted(row["point"] for row in plain.rows)
    for row in plain.rows:
        stored = strict_json(plain.run / "points" / f"{row['point']}.json")
        assert {key: str(value) for key, value in stored["row"].items() if value is not None} == {
            key: value for key, value in row.items() if value
        }
        assert stored["config"]["batch"] == int(row["batch"])
        assert stored["config"]["strategy"]["_target_"] == "strategies.direct.Direct"
        assert [sample["targets"] for sample in stored["samples"]] == [int(row["batch"])] * 8
        assert all(sample["seconds"] > 0 for sample in stored["samples"])
        assert set(stored["details"]["agreement"]["per_object"]) == {"specimen000/1", "specimen000/2"}


@pytest.mark.slow
def test_plan_and_environment_are_stored(plain: Sweep) -> None:
    plan = strict_json(plain.run / "plan.json")
    assert [(entry["point"], entry["command"]) for entry in plan] == [
        (row["point"], row["command"]) for row in plain.rows
    ]
    assert [entry["options"]["batch"] for entry in plan] == [2, 3]
    environment = strict_json(plain.run / "environment.json")
    assert environment["threads"] == 1
    assert environment["packages"]["torch"]
    assert environment["device"] == plain.rows[0]["device"]


@pytest.mark.slow
def test_the_report_tells_of_each_point_and_its_pictures_are_pictures(plain: Sweep) -> None:
    report = (plain.run / "report.md").read_text(encoding="utf-8")
    for row in plain.rows:
        assert row["point"] in report
        assert row["command"] in report
    for name in ("throughput.png", "masks.png"):
        assert f"({name})" in report
        with Image.open(plain.run / name) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 100


@pytest.mark.slow
def test_standard_output_has_a_table_and_the_reports_path(plain: Sweep) -> None:
    assert plain.done.stdout.count(" ok ") == 2
    assert f"{Path('results') / plain.run.name / 'report.md'}" in plain.done.stdout
    assert "[2/2]" in plain.done.stderr
    assert "Traceback" not in plain.done.stderr


@pytest.mark.slow
def test_the_features_on_disk_are_gone(plain: Sweep) -> None:
    assert list((plain.folder / "tmp").iterdir()) == []


@pytest.mark.slow
def test_the_command_of_a_row_measures_that_point_again(plain: Sweep) -> None:
    python, flag, module, *arguments = shlex.split(plain.rows[1]["command"])
    assert (python, flag, module) == ("python", "-m", "harness")
    done = run_here(plain.folder, *arguments, "reporter=null")
    assert done.returncode == 0, done.stderr
    first, second = runs(plain.folder / "results")
    assert [row["point"] for row in summary(second)] == [plain.rows[1]["point"]]
    assert first == plain.run
    assert (plain.folder / "results" / "latest").resolve() == second.resolve()


@pytest.mark.slow
def test_where_the_command_line_does_not_say_every_strategy_is_swept(tmp_path: Path) -> None:
    words = ("batch=3", "positions=pinned,raw")
    swept = Sweep(folder=tmp_path, done=run_here(tmp_path, *words, *TINY, *ALONE, "objects=1"))
    assert swept.done.returncode == 0, swept.done.stderr
    assert {row["strategy"] for row in swept.rows} == set(SHIPPED)
    for row in swept.rows:
        if row["strategy"] == "triton" and not torch.cuda.is_available():
            assert row["status"] == "skipped"
            assert "CUDA GPU" in row["reason"]
            continue
        assert row["status"] == "ok", row["reason"]
        exact = row["strategy"] != "propagate" and row["variant"] != "raw"
        assert (float(row["max_abs_dlogit"]) < 1e-3) == exact, row["point"]  # a few masks may be alike by luck


# --- strategies of one's own, and some that fail -------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("mixed")
    searched = own_strategies(folder)
    strategies = "strategy=broken,sequential,wrong,direct,mine"
    return Sweep(
        folder=folder,
        done=run_here(folder, searched, strategies, "bank=shared,repeat", "batch=2,99", *REPORTED, *ALONE),
    )


@pytest.mark.slow
def test_a_strategy_without_a_choice_of_bank_is_measured_once_however_many_banks_are_swept(mixed: Sweep) -> None:
    measured = [(row["strategy"], row["variant"]) for row in mixed.rows if row["batch"] == "2"]
    expected = {"broken": [""], "direct": ["repeat", "shared"], "mine": [""], "sequential": [""], "wrong": [""]}
    assert sorted(measured) == [(strategy, bank) for strategy, banks in expected.items() for bank in banks]


@pytest.mark.slow
def test_a_strategy_is_a_file_and_a_yaml_with_its_options(mixed: Sweep) -> None:
    row = only([row for row in mixed.rows if row["batch"] == "2"], "mine")
    assert row["status"] == "ok"
    assert float(row["iou_min"]) > 0.99
    assert (mixed.folder / "colour.txt").read_text() == "green"


@pytest.mark.slow
def test_a_strategy_that_raises_has_crashed_with_a_reason_and_the_others_are_measured(mixed: Sweep) -> None:
    row = only([row for row in mixed.rows if row["batch"] == "2"], "broken")
    assert row["status"] == "crash"
    assert row["reason"] == "ZeroDivisionError: the third bolt is loose"
    assert row["fps"] == ""
    (stored,) = (strict_json(path) for path in (mixed.run / "points").glob("broken-b2-*.json"))
    assert stored["details"]["traceback"].endswith("ZeroDivisionError: the third bolt is loose\nsecond line\n")
    lines = mixed.done.stderr.splitlines()
    at = next(place for place, line in enumerate(lines) if row["point"] in line)
    assert lines[at + 1].startswith("  Traceback, ")
    assert 'File "my_strategies.py", line ' in "".join(lines[at + 2 : at + 12])
    assert only([row for row in mixed.rows if row["batch"] == "2"], "sequential")["status"] == "ok"


@pytest.mark.slow
def test_in_this_process_what_a_strategy_raised_reaches_the_terminal_when_the_report_is_written(mixed: Sweep) -> None:
    """The command `python -m pdb` needs the exception."""
    assert mixed.done.stderr.endswith("ZeroDivisionError: the third bolt is loose\nsecond line\n")
    assert "\nTraceback (most recent call last):\n" in mixed.done.stderr
    assert (mixed.run / "report.md").is_file()


@pytest.mark.slow
def test_a_strategy_with_wrong_masks_is_wrong(mixed: Sweep) -> None:
    row = only([row for row in mixed.rows if row["batch"] == "2"], "wrong")
    assert row["status"] == "wrong"
    assert "sequential" in row["reason"]
    assert float(row["iou_mean"]) < 0.9


@pytest.mark.slow
def test_a_batch_larger_than_any_group_is_skipped_with_a_reason(mixed: Sweep) -> None:
    rows = [row for row in mixed.rows if row["batch"] == "99"]
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"skipped"}
    assert all("batch=99" in row["reason"] for row in rows)


@pytest.mark.slow
def test_points_that_failed_make_exit_code_1(mixed: Sweep) -> None:
    assert mixed.done.returncode == 1


@pytest.mark.slow
def test_the_report_tells_what_failed(mixed: Sweep) -> None:
    report = (mixed.run / "report.md").read_text(encoding="utf-8")
    for row in mixed.rows:
        assert row["point"] in report
        assert row["reason"] in report


@pytest.mark.slow
def test_nothing_temporary_stays_after_failures(mixed: Sweep) -> None:
    assert list((mixed.folder / "tmp").iterdir()) == []


# --- commands that only tell ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_help_names_the_choices_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    for word in (f"strategy: {', '.join(sorted((*SHIPPED, *OF_STREAMS)))}", "batch: 8", "min_rounds"):
        assert word in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (main, ["batch=8,16", "--help", "strategy=direct"]),
        (main, ["--help", "strategy=glob(*)"]),
        (check, ["--update", "--help"]),
        (certify, ["--help", "masks"]),
        (label, ["--preview", "12", "--help", "batch=8,16"]),
    ],
    ids=["sweep", "glob", "check", "certify masks", "label"],
)
def test_help_may_stand_anywhere_and_beside_listed_values(
    command: Callable[[Sequence[str]], int], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        command(words)
    assert left.value.code == 0
    assert "Compare batching strategies" in capsys.readouterr().out


def test_cfg_job_shows_the_options_of_a_point_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("--cfg", "job", "strategy=sequential", "batch=3") == 0
    out = capsys.readouterr().out
    assert "_target_: strategies.sequential.Sequential" in out
    assert "batch: 3\n" in out
    assert list(tmp_path.iterdir()) == []
