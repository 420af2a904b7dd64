"""What was sampled while points ran, in a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from report.sections.while_it_ran import series_section
from tests.support.harness_runs import row
from tests.support.report_runs import (
    GPU_SERIES,
    SERIES,
    report_of,
    run_folder,
    section_of,
    size_of,
    written_section,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("gpu", [False, True], ids=["on a processor", "on a GPU"])
def test_what_was_sampled_is_plotted(tmp_path: Path, gpu: bool) -> None:
    series = SERIES | (GPU_SERIES if gpu else {})
    rows = [row("one"), row("two", strategy="other")]
    text = written_section(run_folder(tmp_path / "run", rows, details={"one": {"series": series}}), series_section)
    assert "## While it ran" in text
    width, height = size_of(tmp_path / "run" / "series.png")
    assert (height > width) == gpu, "five quantities, else two"


def test_where_nothing_was_sampled_there_is_no_plot_of_it(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one")])
    assert "While it ran" not in text
    assert "series.png" not in text


def test_of_each_strategy_the_longest_series_is_shown(tmp_path: Path) -> None:
    longer = {name: [*values, *(values[-1:] * 3)] for name, values in SERIES.items()}
    longer["seconds"][-3:] = [0.8, 1.0, 1.2]
    rows = [row("one"), row("two", batch=8)]
    pictures = []
    for name, others in (("both", SERIES), ("same", SERIES), ("none", None)):
        details = {"one": {"series": others}, "two": {"series": longer}}
        written_section(run_folder(tmp_path / name, rows, details=details), series_section)
        pictures.append((tmp_path / name / "series.png").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2], "the shorter one makes no difference"
    written_section(run_folder(tmp_path / "short", rows, details={"one": {"series": SERIES}}), series_section)
    assert (tmp_path / "short" / "series.png").read_bytes() != pictures[0]


def test_long_series_of_many_strategies(tmp_path: Path) -> None:
    count = 2_000
    series = {name: (values * count)[:count] for name, values in (SERIES | GPU_SERIES).items()}
    series["seconds"] = [0.2 * index for index in range(count)]
    rows = [row(f"point{number}", strategy=f"Größe {number} 🌿") for number in range(10)]
    details = {one["point"]: {"series": series} for one in rows}
    written_section(run_folder(tmp_path / "run", rows, details=details), series_section)
    assert max(size_of(tmp_path / "run" / "series.png")) < 4000


def test_each_note_of_the_monitor_is_shown_once(tmp_path: Path) -> None:
    notes = {"one": "The GPU's columns are empty: no driver.", "two": "The GPU's columns are empty: no driver."}
    rows = [row("one"), row("two", batch=8), row("three", batch=16)]
    details = {name: {"monitor_note": note, "series": SERIES} for name, note in notes.items()}
    text = section_of(tmp_path / "run", rows, series_section, details=details | {"three": {"monitor_note": None}})
    assert text.count("no driver") == 1
    alone = {"one": {"monitor_note": notes["one"]}}
    assert "no driver" in section_of(tmp_path / "other", rows[:1], series_section, details=alone)


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": [0.0]},
        {"seconds": [float("nan")] * 5},
        {"seconds": [0.0] * 5},
        {"seconds": ["a"] * 5},
        {"seconds": [4.0, 3.0, 2.0, 1.0, 0.0]},
        {"phase": [1, None, {}, [], "timing"]},
        {"phase": [f"phase {number}" for number in range(5)]},
        {"rss_mb": [float("nan")] * 5, "cpu_s": [None] * 5},
        {"rss_mb": [1.0]},
        {"rss_mb": ["a", {}, [], None, 0.0], "cpu_s": [0.0] * 5},
        {"utilisation": [None] * 5, "power_w": [0, 0, 0, 0, float("inf")]},
    ],
    ids=str,
)
def test_series_of_any_kind_crash_nothing(tmp_path: Path, changes: dict[str, list[Any]]) -> None:
    folder = run_folder(tmp_path / "run", [row("one")])
    content = {"row": row("one"), "details": {"series": SERIES | changes}}
    (folder / "points" / "one.json").write_text(json.dumps(content))  # with NaN, as Python writes it
    text = written_section(folder, series_section)
    assert ("(series.png)" in text) == (folder / "series.png").exists()
