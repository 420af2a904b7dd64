"""The plots of a report: drawn where they have something to show, the same every time, with readable values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes

from harness.result import Block
from report.reading.run import read_run
from report.render.style import COLOURS, styles_of
from report.sections.scaling_with_memory_frames import memory_frames_section
from report.sections.speed_against_batch import draw_speedups
from report.sections.speed_memory_and_agreement import draw_pareto, pareto_section
from report.sections.what_fits_into_memory import memory_section
from tests.support.harness_runs import ended, row
from tests.support.report_runs import (
    AGREED,
    CONFIG,
    FASTER,
    report_of,
    run_folder,
    size_of,
    text_of,
    written_report_of,
    written_section,
)

MEMORY = {"encode_fps": 80.0}


def memory_of(batch: int) -> dict[str, float]:
    return MEMORY | {"peak_rss_mb": 480.0 + 20 * batch}


def grid(**changes: Any) -> list[dict[str, Any]]:
    return [
        row(f"b{batch}o{objects}", batch=batch, objects=objects, **memory_of(batch) | FASTER | AGREED | changes)
        for batch in (1, 8)
        for objects in (1, 4)
    ]


def svg_text(path: Path) -> str:
    """Return the text that can be read in an SVG file."""
    return " ".join(ElementTree.parse(path).getroot().itertext())


def of_every_plot(folder: Path) -> Path:
    """A run whose report has every plot of speed and memory, with the report."""
    rows = [*grid(fps=33.25), ended("gone", "oom", "80 GB", batch=64, objects=4)]
    written_report_of(folder / "run", rows, config=CONFIG)
    return folder / "run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_every_plot(tmp_path_factory.mktemp("made"))


@pytest.mark.slow
def test_a_plot_shows_the_measured_points(made: Path) -> None:
    assert "(throughput.png)" in (made / "report.md").read_text(encoding="utf-8")
    width, height = size_of(made / "throughput.png")
    assert width > height > 300, "two panels side by side"


@pytest.mark.slow
def test_plots_come_in_the_order_of_the_questions(made: Path) -> None:
    text = (made / "report.md").read_text(encoding="utf-8")
    shown = ["card", "throughput", "speedup", "speedup-map", "memory-frontier", "pareto", "stages"]
    assert re.findall(r"\((\S+)\.png\)", text) == shown
    for name in shown[1:]:
        assert min(size_of(made / f"{name}.png")) > 100
        ElementTree.parse(made / f"{name}.svg")
    titles = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    expected = [
        *("Verdict", "All points", "Speed against batch", "Speed-up over batch and objects", "What fits into memory"),
        *("Speed, memory and agreement", "Where the time goes", "Are the masks the same", "Your job"),
        *("What did not work", "How far to trust it", "Environment", "To measure a point again"),
    ]
    assert titles == expected


@pytest.mark.slow
def test_plots_are_the_same_every_time_and_have_no_date(tmp_path: Path, made: Path) -> None:
    again = of_every_plot(tmp_path)
    files = ["report.html", "speedup.png", *(path.name for path in made.glob("*.svg"))]
    assert len(files) > 5
    for name in files:
        assert (made / name).read_bytes() == (again / name).read_bytes(), name
    assert "date" not in (made / "speedup.svg").read_text(encoding="utf-8").lower()


@pytest.mark.slow
def test_each_point_has_its_value_as_a_tooltip(made: Path) -> None:
    assert "direct (shared), batch 8, 4 objects: 33.2 targets/s" in svg_text(made / "throughput.svg")
    tooltip = "direct (shared), batch 8, 4 objects: 4.34 (4.21-4.69) times sequential, faster"
    assert tooltip in svg_text(made / "speedup.svg")
    assert "4.34" in svg_text(made / "speedup-map.svg")
    assert "12.5 + 30.1" in svg_text(made / "stages.svg")


def test_a_single_batch_and_object_count_have_no_map(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", grid()[:1])
    assert "speedup-map" not in text
    assert "What fits into memory" not in text


@pytest.mark.slow
def test_the_frontier_shows_what_did_not_fit(tmp_path: Path) -> None:
    rows = [
        *grid(),
        ended("big", "oom", "80 GB", batch=64, objects=4),
        ended("bigger", "oom", "80 GB", batch=64, objects=16),
        row("other", strategy="sequential", variant="", batch=64, objects=16, peak_rss_mb=640.0),
    ]
    text = written_section(run_folder(tmp_path / "run", rows), memory_section)
    assert (
        "Memory ran out for `direct (shared)`, in 2 of 7 points; the smallest is `direct (shared)` at batch 64 and 4 "
        "objects." in text
    )
    shown = svg_text(tmp_path / "run" / "memory-frontier.svg")
    assert shown.split().count("oom") == 4, "in two cells and in their tooltips"
    assert "640" in shown
    assert "sequential" not in shown, "it always fits"


ALL_OBJECTS = CONFIG | {"objects": None}


@pytest.mark.slow
@pytest.mark.parametrize("batches", [(8, 16), (8,)], ids=str)
def test_a_point_that_failed_is_placed_by_the_objects_of_those_that_did_not(
    tmp_path: Path, batches: tuple[int, ...]
) -> None:
    """All objects are the default, and a point that failed does not store how many they are."""
    rows = [row(f"b{batch}", batch=batch, **MEMORY) for batch in batches]
    rows.append(ended("big", "oom", "80 GB", batch=64, objects=None))
    text = written_section(run_folder(tmp_path / "run", rows, config=ALL_OBJECTS), memory_section)
    assert f"Memory ran out for `direct (shared)`, in 1 of {len(rows)} points" in text
    assert "is `direct (shared)` at batch 64 and 4 objects." in text
    assert "Nothing ran out of memory" not in text
    assert "direct (shared), batch 64, objects 4: oom" in svg_text(tmp_path / "run" / "memory-frontier.svg")


def test_objects_are_those_of_the_same_data(tmp_path: Path) -> None:
    rows = [
        *(row("one", objects=1, data="a"), row("four", objects=4, data="b"), row("two", objects=2, batch=4)),
        *(ended("of a", "oom", "80 GB", batch=64, objects=None), ended("asked", "oom", "80 GB", batch=64, objects=3)),
    ]
    folder = run_folder(tmp_path / "run", rows, config=ALL_OBJECTS)
    asked = {"one": ("a", None), "four": ("b", None), "two": ("a", 2), "of a": ("a", None), "asked": ("a", 3)}
    for name, (data, objects) in asked.items():
        path = folder / "points" / f"{name}.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(stored | {"config": {"data": {"name": data}, "objects": objects}}))
    assert list(read_run(folder).summary.set_index("point")["objects"][list(asked)]) == [1, 4, 2, 1, 3]


def test_memory_that_ran_out_is_reported_for_points_without_a_place(tmp_path: Path) -> None:
    rows = [row("one", batch=8), ended("big", "oom", "80 GB", batch=64, objects=None)]
    text = report_of(tmp_path / "run", rows)
    assert "Memory ran out for `direct (shared)`, in 1 of 2 points; the smallest is `direct (shared)` at batch 64." in (
        text
    )
    assert "memory-frontier" not in text


@pytest.mark.slow
def test_where_all_fits_the_most_is_stated(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [*grid(), row("most", batch=64, objects=16, vram_peak_mb=70_000.0)])
    sentence = "Nothing ran out of memory. The most was 70,000 MB (`vram_peak_mb`), of `direct (shared)` at batch 64"
    assert sentence in text
    assert "memory-frontier" not in text


@pytest.mark.slow
def test_memory_frames_are_plotted_where_they_vary(tmp_path: Path) -> None:
    rows = [
        row(f"r{refs}{strategy}", refs=refs, strategy=strategy, variant="", fps=100 / refs, peak_rss_mb=400 + refs)
        for refs in (1, 4, 16)
        for strategy in ("direct", "sequential")
    ]
    assert "(memory-frames.png)" in written_section(run_folder(tmp_path / "run", rows), memory_frames_section)
    shown = svg_text(tmp_path / "run" / "memory-frames.svg")
    assert "direct, 16 references: 6.2 targets per second" in shown
    assert "416.0 peak memory (MB)" in shown
    assert "memory-frames" not in report_of(tmp_path / "other", rows[:2])


def test_memory_frames_of_two_models_are_two_lines_with_intervals(tmp_path: Path) -> None:
    rows = [
        row(f"{model}{refs}", model=model, refs=refs, objects=1, fps=fps / refs)
        for refs in (1, 4)
        for model, fps in (("small", 100.0), ("large", 10.0))
    ]
    seconds = [0.9, 1.0, 1.1, 1.0, 0.9, 1.1]
    blocks = [
        Block(group="a", round=at, place=0, side="candidate", targets=10, seconds=one, cpu_seconds=one)
        for at, one in enumerate(seconds)
    ]
    text = written_section(run_folder(tmp_path / "run", rows, samples={"small1": blocks}), memory_frames_section)
    assert "At batch 1 and 1 object. Bars are 95% intervals" in text
    shown = svg_text(tmp_path / "run" / "memory-frames.svg")
    assert re.search(r"direct \(shared\), small, 1 reference: 100\.0 targets per second \(9\d\.\d-1\d\d\.\d\)", shown)
    assert "direct (shared), large, 4 references: 2.5 targets per second" in shown
    assert "55.0" not in shown, "no median of both"


def test_a_strategy_has_one_colour_however_its_points_are_labelled(tmp_path: Path) -> None:
    rows = [
        row(f"{strategy}{refs}", strategy=strategy, variant="", refs=refs) for strategy in ("a", "b") for refs in (1, 2)
    ]
    styles = styles_of(read_run(run_folder(tmp_path / "run", rows)).summary)
    assert styles["a, refs 1"].colour == styles["a, refs 2"].colour == styles["a"].colour == COLOURS[0]
    assert styles["a, refs 1"] == styles["a"]
    assert styles["a, refs 1"].marker != styles["a, refs 2"].marker
    assert styles["b, refs 1"].colour == COLOURS[1]


def test_thirty_strategies_all_look_different(tmp_path: Path) -> None:
    rows = [row(f"point{number}", strategy=f"strategy{number}") for number in range(30)]
    styles = styles_of(read_run(run_folder(tmp_path / "run", rows)).summary)
    assert len(set(styles.values())) == 30


def test_a_failed_point_does_not_rename_the_others(tmp_path: Path) -> None:
    """A failed point stores what was asked for only: ``targets`` of each group, where others store those of all."""
    config = {"targets": 8, "refs": None}
    rows = [row("one", targets=16, refs=3), ended("two", "oom", "80 GB", targets=8, refs=None, batch=8)]
    summary = read_run(run_folder(tmp_path / "run", rows, config=config)).summary
    assert set(summary["label"]) == {"direct (shared)"}


@pytest.mark.slow
@pytest.mark.parametrize("status", ["ok", "wrong"])
def test_points_with_other_masks_are_crossed(tmp_path: Path, status: str) -> None:
    odd = row(
        "odd", strategy="propagate", variant="", batch=8, **AGREED | memory_of(8) | {"iou_min": 0.2}, status=status
    )
    other = row("odd2", **FASTER | memory_of(4) | AGREED | {"pick_flips": 3}, batch=4)
    written_section(run_folder(tmp_path / "run", [*grid(), odd, other]), pareto_section)
    assert "masks differ" in svg_text(tmp_path / "run" / "pareto.svg")


# --- speed against memory ------------------------------------------------------------------------------------------


def drawn_pareto(folder: Path, rows: list[dict[str, Any]]) -> Axes:
    drawing = draw_pareto(read_run(run_folder(folder, rows)))
    assert drawing is not None
    return drawing.figure.axes[0]


def test_memories_that_are_almost_the_same_make_no_picture(tmp_path: Path) -> None:
    rows = [row(f"b{batch}", batch=batch, fps=10.0 * batch, peak_rss_mb=514 + batch) for batch in (1, 2, 4)]
    text = report_of(tmp_path / "run", rows)
    assert "All points took about the same memory, 515 to 518 MB (`peak_rss_mb`), so it does not decide." in text
    assert "pareto" not in text
    wide = [one | {"peak_rss_mb": 100.0 * one["batch"]} for one in rows[:2]]
    low, high = drawn_pareto(tmp_path / "wide", wide).get_xlim()
    assert high - low < 150


def test_memories_that_are_almost_the_same_do_not_span_a_panel(tmp_path: Path) -> None:
    alike = [row(f"b{batch}", batch=batch, objects=1, fps=10.0, peak_rss_mb=514 + batch) for batch in (1, 2, 4)]
    other = row("other", batch=4, objects=4, fps=10.0, peak_rss_mb=700.0)
    low, high = drawn_pareto(tmp_path / "run", [*alike, other]).get_xlim()
    assert high - low == pytest.approx(0.05 * 518)
    assert (low + high) / 2 == pytest.approx(516.5, abs=0.1)


def test_one_batch_is_no_line(tmp_path: Path) -> None:
    rows = [
        row(name, strategy=name, variant="", batch=8, **FASTER | {"speedup": speedup})
        for name, speedup in (("slow", 0.5), ("fast", 4.5))
    ]
    run = read_run(run_folder(tmp_path / "run", rows))
    drawing = draw_speedups(run)
    assert drawing is not None
    (panel,) = drawing.figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["fast", "slow"], "the fastest is on top"
    assert panel.get_xscale() == "log"
    assert panel.get_xlabel() == "speed-up"
    assert "## Speed of each strategy" in text_of(tmp_path / "run")


def test_batches_of_marks_that_coincide_are_written_as_one(tmp_path: Path) -> None:
    rows = [
        row("b1", batch=1, fps=10.0, peak_rss_mb=500.0),
        row("b4", batch=4, fps=10.1, peak_rss_mb=500.5),
        row("b8", batch=8, fps=40.0, peak_rss_mb=700.0),
        row("b8other", batch=8, fps=40.0, peak_rss_mb=701.0, strategy="other"),
    ]
    assert sorted(text.get_text() for text in drawn_pareto(tmp_path / "run", rows).texts) == ["1, 4", "8"]
