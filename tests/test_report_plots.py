"""The plots of a report: there where they have something to show, the same every time, with readable values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from report.run import read_run
from report.style import COLOURS, looks
from tests.harness_runs import ended, row
from tests.report_runs import AGREED, CONFIG, FASTER, report_of, run_folder, size_of

MEMORY = {"peak_rss_mb": 500.0, "encode_fps": 80.0}


def grid(**changes: Any) -> list[dict[str, Any]]:
    return [
        row(f"b{batch}o{objects}", batch=batch, objects=objects, **FASTER | AGREED | MEMORY | changes)
        for batch in (1, 8)
        for objects in (1, 4)
    ]


def svg_text(path: Path) -> str:
    """What can be read in it."""
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_a_plot_shows_the_measured_points(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", grid())
    assert "(throughput.png)" in text
    width, height = size_of(tmp_path / "run" / "throughput.png")
    assert width > height > 300, "two panels side by side"


def test_plots_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [*grid(), ended("gone", "oom", "80 GB", batch=64, objects=4)], config=CONFIG)
    shown = ["throughput", "speedup", "speedup-map", "memory-frontier", "pareto", "stages"]
    assert re.findall(r"\((\S+)\.png\)", text) == shown
    for name in shown:
        assert min(size_of(tmp_path / "run" / f"{name}.png")) > 100
        ElementTree.parse(tmp_path / "run" / f"{name}.svg")
    titles = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    expected = [
        *("Verdict", "All points", "Speed against batch", "Speed-up over batch and objects", "What fits into memory"),
        *("Speed, memory and agreement", "Where the time goes", "Are the masks the same", "Your job"),
        *("What did not work", "How far to trust it", "Environment", "To measure a point again"),
    ]
    assert titles == expected


def test_plots_are_the_same_every_time_and_have_no_date(tmp_path: Path) -> None:
    for name in ("first", "second"):
        report_of(tmp_path / name / "run", grid(), config=CONFIG)
    files = ["report.html", "speedup.png", *(path.name for path in (tmp_path / "first" / "run").glob("*.svg"))]
    assert len(files) > 5
    for name in files:
        first, second = ((tmp_path / folder / "run" / name).read_bytes() for folder in ("first", "second"))
        assert first == second, name
    assert "date" not in (tmp_path / "first" / "run" / "speedup.svg").read_text(encoding="utf-8").lower()


def test_each_point_tells_its_value(tmp_path: Path) -> None:
    report_of(tmp_path / "run", grid(fps=33.25), config=CONFIG)
    assert "direct (shared), batch 8, 4 objects: 33.2 targets/s" in svg_text(tmp_path / "run" / "throughput.svg")
    told = "direct (shared), batch 8, 4 objects: 4.34 (4.21-4.69) times sequential, faster"
    assert told in svg_text(tmp_path / "run" / "speedup.svg")
    assert "4.34" in svg_text(tmp_path / "run" / "speedup-map.svg")
    assert "12.5 + 30.1" in svg_text(tmp_path / "run" / "stages.svg")


def test_a_single_batch_and_object_count_have_no_map(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", grid()[:1])
    assert "speedup-map" not in text
    assert "What fits into memory" not in text


def test_the_frontier_shows_what_did_not_fit(tmp_path: Path) -> None:
    rows = [
        *grid(),
        ended("big", "oom", "80 GB", batch=64, objects=4),
        ended("bigger", "oom", "80 GB", batch=64, objects=16),
        row("other", strategy="sequential", variant="", batch=64, objects=16, peak_rss_mb=640.0),
    ]
    text = report_of(tmp_path / "run", rows)
    assert (
        "Memory ran out for `direct (shared)`, in 2 of 7 points; the smallest is `direct (shared)` at batch 64 and 4 "
        "objects." in text
    )
    shown = svg_text(tmp_path / "run" / "memory-frontier.svg")
    assert shown.split().count("oom") == 4, "in two cells, and told of them"
    assert "500" in shown
    assert "sequential" not in shown, "it always fits"


def test_where_all_fits_the_most_is_told(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [*grid(), row("most", batch=64, objects=16, vram_peak_mb=70_000.0)])
    told = "Nothing ran out of memory. The most was 70,000 MB (`vram_peak_mb`), of `direct (shared)` at batch 64"
    assert told in text
    assert "memory-frontier" not in text


def test_memory_frames_are_plotted_where_they_vary(tmp_path: Path) -> None:
    rows = [
        row(f"r{refs}{strategy}", refs=refs, strategy=strategy, variant="", fps=100 / refs, peak_rss_mb=400 + refs)
        for refs in (1, 4, 16)
        for strategy in ("direct", "sequential")
    ]
    assert "(memory-frames.png)" in report_of(tmp_path / "run", rows)
    shown = svg_text(tmp_path / "run" / "memory-frames.svg")
    assert "direct, 16 references: 6.2 targets per second" in shown
    assert "416.0 peak memory (MB)" in shown
    assert "memory-frames" not in report_of(tmp_path / "other", rows[:2])


def test_a_strategy_has_one_colour_however_its_points_are_told_apart(tmp_path: Path) -> None:
    rows = [
        row(f"{strategy}{refs}", strategy=strategy, variant="", refs=refs) for strategy in ("a", "b") for refs in (1, 2)
    ]
    styles = looks(read_run(run_folder(tmp_path / "run", rows)).summary)
    assert styles["a, refs 1"].colour == styles["a, refs 2"].colour == styles["a"].colour == COLOURS[0]
    assert styles["a, refs 1"] == styles["a"]
    assert styles["a, refs 1"].marker != styles["a, refs 2"].marker
    assert styles["b, refs 1"].colour == COLOURS[1]


def test_thirty_strategies_all_look_different(tmp_path: Path) -> None:
    rows = [row(f"point{number}", strategy=f"strategy{number}") for number in range(30)]
    styles = looks(read_run(run_folder(tmp_path / "run", rows)).summary)
    assert len(set(styles.values())) == 30


def test_a_failed_point_does_not_rename_the_others(tmp_path: Path) -> None:
    """What it was asked for is all it knows: "targets" is of each group, and of all groups in the others."""
    config = {"targets": 8, "refs": None}
    rows = [row("one", targets=16, refs=3), ended("two", "oom", "80 GB", targets=8, refs=None, batch=8)]
    summary = read_run(run_folder(tmp_path / "run", rows, config=config)).summary
    assert set(summary["label"]) == {"direct (shared)"}


@pytest.mark.parametrize("status", ["ok", "wrong"])
def test_points_with_other_masks_are_crossed(tmp_path: Path, status: str) -> None:
    odd = row("odd", strategy="propagate", variant="", batch=8, **AGREED | MEMORY | {"iou_min": 0.2}, status=status)
    report_of(tmp_path / "run", [*grid(), odd, row("odd2", **FASTER | MEMORY | AGREED | {"pick_flips": 3}, batch=4)])
    assert "masks differ" in svg_text(tmp_path / "run" / "pareto.svg")
