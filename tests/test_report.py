"""The report of any run folder, of which nothing may be missing but what the run did not measure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.results import PointResult, RunFolder
from report import write_report
from strategies.errors import UserError
from tests.harness_runs import ROOT, ended, row

ENVIRONMENT: dict[str, Any] = {
    "device": "a processor",
    "cpu": {"name": "a processor", "cores": 2, "memory_gb": 8.0, "flags": ["avx2"], "torch_capability": "AVX2"},
    "gpu": None,
    "python": "3.11.0",
    "platform": "Linux",
    "packages": {"torch": "2.11.0", "triton": None},
    "threads": 1,
    "git_commit": None,
    "git_changed": None,
}
GPU = {"name": "a card", "uuid": "GPU-1", "memory_gb": 80.0, "capability": "9.0", "driver": None, "cuda": "13.0"}
AGREED = {"iou_mean": 0.9991, "iou_min": 0.9912, "max_abs_dlogit": 1e-5, "gate_flips": 0, "pick_flips": 0, "jf": 0.75}


def run_folder(folder: Path, rows: Sequence[dict[str, Any]], *, environment: dict[str, Any] | None = None) -> Path:
    run = RunFolder(folder)
    run.write_json("environment.json", environment or ENVIRONMENT)
    for one in rows:
        run.add(PointResult(row=one, config={}))
    return folder


def report_of(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> str:
    return write_report(run_folder(folder, rows, **options)).read_text(encoding="utf-8")


def draw_scene(folder: Path, points: Sequence[str], *, truth: bool = True) -> None:
    """Pictures as a run keeps them: a reference, one target, the points' predictions."""
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((20, 30, 3), 90, dtype=np.uint8))
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[5:10, 5:20] = 254
    for name in ("reference", "target0"):
        picture.save(folder / f"{name}.png")
    for name in ("reference-labels", *(["target0-labels"] if truth else []), *(f"target0-{one}" for one in points)):
        Image.fromarray(labels).save(folder / f"{name}.png")


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        image.load()
        return image.size


def table_lines(text: str) -> list[str]:
    """Lines of the table of points, without its header."""
    return [line for line in text.splitlines() if line.startswith("|")][2:]


# --- what a report says --------------------------------------------------------------------------------------------


def test_every_point_has_its_line_and_its_command(tmp_path: Path) -> None:
    rows = [
        row("first", batch=1, fps=10.0, command="python -m harness strategy=direct batch=1", **AGREED),
        row("second", batch=8, fps=44.44, command="python -m harness strategy=direct batch=8", **AGREED),
        row("third", strategy="sequential", bank="", fps=4.0, command="python -m harness strategy=sequential"),
    ]
    text = report_of(tmp_path / "run", rows)
    lines = table_lines(text)
    assert [line.split("|")[1].strip() for line in lines] == ["direct (shared)", "direct (shared)", "sequential"]
    assert "44.4" in lines[1]
    assert "0.9912" in lines[1]
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
    for word in ("a processor", "2 cores", "avx2", "3.11.0", "torch 2.11.0", "a card", "CUDA 13.0", "abc123"):
        assert word in text, word
    assert "triton" not in text, "it was not installed"


def test_a_plot_shows_the_measured_points(tmp_path: Path) -> None:
    rows = [row(f"b{batch}o{objects}", batch=batch, objects=objects) for batch in (1, 8) for objects in (1, 4)]
    text = report_of(tmp_path / "run", rows)
    assert "(throughput.png)" in text
    width, height = size_of(tmp_path / "run" / "throughput.png")
    assert width > height > 300, "two panels side by side"


def test_masks_are_shown_where_the_run_kept_pictures(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", ["one"])
    text = report_of(tmp_path / "run", [row("one"), row("two", strategy="other")])
    assert "(masks.png)" in text
    assert min(size_of(tmp_path / "run" / "masks.png")) > 100


def test_writing_a_report_again_changes_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    first = write_report(folder).read_text(encoding="utf-8")
    assert write_report(folder).read_text(encoding="utf-8") == first


# --- unusual runs --------------------------------------------------------------------------------------------------


def test_where_nothing_was_measured_the_report_says_why_and_has_no_plot(tmp_path: Path) -> None:
    rows = [
        ended("one", "skipped", "frames/00003.jpg is cut off"),
        ended("two", "crash", "RuntimeError: no", objects=None, targets=None, refs=None),
        ended("three", "oom", "OutOfMemoryError: 80 GB"),
    ]
    text = report_of(tmp_path / "run", rows)
    assert "frames/00003.jpg is cut off" in text
    assert "RuntimeError: no" in text
    assert len(table_lines(text)) == 3
    assert "throughput.png" not in text
    assert "masks.png" not in text
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_wrong_point_is_told_and_not_plotted(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="3 gate or best-of-3 flips")])
    assert "3 gate or best-of-3 flips" in text
    assert "throughput.png" not in text


def test_one_point_is_enough(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert len(table_lines(text)) == 1
    assert min(size_of(tmp_path / "run" / "throughput.png")) > 100


def test_a_run_without_pictures_or_truth(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", [], truth=False)
    assert "(masks.png)" in report_of(tmp_path / "run", [row("one")])
    assert "masks.png" not in report_of(tmp_path / "other", [row("one")])


@pytest.mark.parametrize(
    "reason",
    ["木 und Größe 🌿 fehlen", "a | b | c", "1,5 \"GB\" and 'more'"],
    ids=["letters", "bars", "quotes"],
)
def test_any_reason_is_told_as_it_is(tmp_path: Path, reason: str) -> None:
    text = report_of(tmp_path / "run", [row("zero"), ended("one", "crash", reason)])
    assert reason in text
    assert len({line.count("|") for line in table_lines(text)}) == 1, "the table keeps its columns"


def test_masks_that_overflowed_are_told(tmp_path: Path) -> None:
    overflowed = AGREED | {"max_abs_dlogit": float("inf"), "iou_min": 0.0}
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="too far", **overflowed)])
    assert "inf" in text


def test_sixty_points_of_ten_strategies(tmp_path: Path) -> None:
    rows = [
        row(f"point{strategy}-{batch}-{objects}", strategy=f"strategy{strategy}", batch=batch, objects=objects)
        for strategy in range(10)
        for batch in (1, 8, 64)
        for objects in (1, 16)
    ]
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o16", [one["point"] for one in rows])
    text = report_of(tmp_path / "run", rows)
    assert len(table_lines(text)) == 60
    for name in ("throughput.png", "masks.png"):
        assert max(size_of(tmp_path / "run" / name)) < 4000, name


# --- folders that are no run ---------------------------------------------------------------------------------------


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished point"):
        write_report(tmp_path)


def test_the_command_refuses_a_folder_without_a_run_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "report", "nowhere"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
