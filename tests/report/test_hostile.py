"""Reports of runs that went badly, or strangely: readable, and never a crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from report import write_report
from report.cli import main
from tests.support.harness_runs import complaint, ended, fill_the_disk, row
from tests.support.report_runs import (
    AGREED,
    CONFIG,
    FASTER,
    SERIES,
    draw_scene,
    report_of,
    run_folder,
    size_of,
    table_cells,
    table_lines,
    text_of,
    worst_target,
    written_report_of,
)


def test_where_nothing_was_measured_the_report_says_why_and_has_no_plot(tmp_path: Path) -> None:
    rows = [
        ended("one", "skipped", "frames/00003.jpg is cut off"),
        ended("two", "crash", "RuntimeError: no", objects=None, targets=None, refs=None),
        ended("three", "oom", "OutOfMemoryError: 80 GB"),
        ended("four", "timeout", "it took longer than 600 s, while timing"),
    ]
    text = written_report_of(tmp_path / "run", rows)
    assert "frames/00003.jpg is cut off" in text
    assert "RuntimeError: no" in text
    assert "`four` is **timeout**: it took longer than 600 s, while timing" in text
    assert len(table_lines(text)) == 4
    assert "throughput.png" not in text
    assert "masks.png" not in text
    assert not list((tmp_path / "run").glob("*.png"))


def test_a_reason_of_any_length_is_reported_in_part(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("zero"), ended("one", "crash", "y" * 140_000)])
    assert "yyy... (140,000 characters" in text_of(folder)
    old = (folder / "summary.csv").read_text(encoding="utf-8").replace("y" * 2000, "y" * 140_000)
    (folder / "summary.csv").write_text(old, encoding="utf-8")
    assert "y" * 140_000 in text_of(folder), "as runs of before have it"


CELLS = {
    "refs": ["1e400", "-1", "1e-320"],
    "objects": ["nan", "-3", "1" * 400],
    "batch": ["inf", "0", "x"],
    "fps": ["-1", "1e308", "inf"],
    "speedup_lo": ["1e308", "-1"],
    "targets": ["1" * 30],
    "repeat": ["1e400"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_numbers_that_can_not_be_crash_nothing(tmp_path: Path, name: str) -> None:
    rows = [row(f"p{at}", refs=at + 1, **FASTER | AGREED) for at in range(len(CELLS[name]) + 2)]
    folder = run_folder(tmp_path / "run", rows)
    put_cells(folder, [name], CELLS[name])
    speedups = [one["speedup"] for one in table_cells(text_of(folder))]
    assert len(speedups) == len(rows)
    assert speedups.count("4.34 (4.21-4.69)") >= 2, "those of the others"


@pytest.mark.slow
def test_a_speed_that_can_not_be_is_neither_found_nor_drawn(tmp_path: Path) -> None:
    impossible = ["inf", "-inf", "nan", "0", "-1", "1e308", "1e-300"]
    rows = [row(f"p{batch}", batch=batch, **FASTER | AGREED) for batch in range(1, len(impossible) + 2)]
    folder = run_folder(tmp_path, rows)
    put_cells(folder, ["speedup", "fps"], impossible)
    text = write_report(folder).read_text(encoding="utf-8")
    assert text.startswith("# direct (shared), batch 8: 4.3 times as fast as sequential\n")
    assert (folder / "card.png").is_file()
    for name in ("throughput", "speedup"):
        assert (folder / f"{name}.svg").read_text(encoding="utf-8").count("<title>") == 1


def put_cells(folder: Path, names: list[str], cells: list[str]) -> None:
    """Replace what a run's first points have in some columns by one of the cells each."""
    header, *lines = (folder / "summary.csv").read_text(encoding="utf-8").splitlines()
    columns = header.split(",")
    for at, cell in enumerate(cells):
        values = dict(zip(columns, lines[at].split(","), strict=True)) | dict.fromkeys(names, cell)
        lines[at] = ",".join(values.values())
    (folder / "summary.csv").write_text("\n".join([header, *lines]), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [("samples", 0, "side"), ("samples", 0, "seconds"), ("details", "series", "rss_mb", 0)]
)
def test_values_that_can_not_be_crash_nothing(tmp_path: Path, place: tuple[str | int, ...]) -> None:
    block = {
        "group": "a",
        "round": 0,
        "place": 0,
        "side": "candidate",
        "targets": 1,
        "seconds": 1.0,
        "cpu_seconds": 1.0,
    }
    values = ([], {}, 10**400, -1, None, "\ud800")
    rows = [row(f"p{batch}", batch=batch, **FASTER | AGREED) for batch, _ in enumerate(values, start=1)]
    folder = run_folder(tmp_path, rows)
    for one, value in zip(rows, values, strict=True):
        series = {name: list(values) for name, values in SERIES.items()}
        content: Any = {
            "row": one,
            "details": {"series": series},
            "config": CONFIG,
            "samples": [dict(block)],
        }
        inner = content
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        (folder / "points" / f"{one['point']}.json").write_text(json.dumps(content))
    assert [one["speedup"] for one in table_cells(text_of(folder))] == ["4.34 (4.21-4.69)"] * len(values)


def test_a_wrong_point_is_listed_and_not_plotted(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="3 gate or best-of-3 flips")])
    assert "`one` is **wrong**, so it has no speed-up: 3 gate or best-of-3 flips" in text
    assert "throughput.png" not in text
    assert "speedup.png" not in text


def test_one_point_is_enough(tmp_path: Path) -> None:
    text = written_report_of(tmp_path / "run", [row("one")])
    assert len(table_lines(text)) == 1
    assert min(size_of(tmp_path / "run" / "throughput.png")) > 100


@pytest.mark.parametrize(
    "reason",
    ["木 und Größe 🌿 fehlen", "a | b | c", "1,5 \"GB\" and 'more'"],
    ids=["letters", "bars", "quotes"],
)
def test_any_reason_is_shown_as_it_is(tmp_path: Path, reason: str) -> None:
    text = report_of(tmp_path / "run", [row("zero"), ended("one", "crash", reason)])
    assert reason in text
    assert len({line.count("|") for line in table_lines(text)}) == 1, "the table keeps its columns"


DAMAGED: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda path: path.write_text("[]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_points_leave_what_the_summary_says(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    details = {"one": {"series": SERIES, "outliers": {"a": [True]}}, "two": {"series": SERIES}}
    rows = [row("one", setup_s=4.0, **FASTER), row("two", strategy="other")]
    folder = run_folder(tmp_path / "run", rows, config=CONFIG, details=details)
    for path in (folder / "points").glob("*.json"):
        damage(path)
    text = text_of(folder)
    assert "4.34 (4.21-4.69)" in text
    assert [one["setup_s"] for one in table_cells(text, "Where the time goes")] == ["4.0", ""]
    assert "While it ran" not in text
    assert "outliers" not in text


PLACES = {
    "details": ("series", "outliers", "setup_seconds", "monitor_note", "agreement", "limits", "noise_floor"),
    "config": ("timing", "strategy", "project_to", "refs"),
}
"""The places in a point's file that a report reads."""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["samples", *PLACES, *PLACES["details"], *PLACES["config"]])
def test_points_of_any_kind_crash_nothing(tmp_path: Path, place: str) -> None:
    damages = (None, 3, -1.5, "x", [None], {"a": ["x", None, {}]}, {"_target_": 3})
    rows = [row(f"p{batch}", batch=batch, **FASTER | AGREED, setup_s=4.0) for batch, _ in enumerate(damages, start=1)]
    folder = run_folder(tmp_path, rows)
    for one, damaged in zip(rows, damages, strict=True):
        content: dict[str, Any] = {"row": one, "details": {"series": SERIES}, "config": CONFIG, "samples": []}
        within = next((whole for whole, parts in PLACES.items() if place in parts), None)
        if within is None:
            content[place] = damaged
        else:
            content[within] = content[within] | {place: damaged}
        (folder / "points" / f"{one['point']}.json").write_text(json.dumps(content))
    assert [one["speedup"] for one in table_cells(text_of(folder))] == ["4.34 (4.21-4.69)"] * len(damages)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Größe 木", "a|b", "$x_{", "_mine", "a*b*", "%s {}"])
def test_a_strategy_of_any_name(tmp_path: Path, name: str) -> None:
    one = row("one", strategy=name, variant="", **FASTER, **AGREED)
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", ["one"])
    text = report_of(tmp_path / "run", [one], config=CONFIG, details={"one": {"series": SERIES}})
    assert len({line.replace("\\|", "").count("|") for line in table_lines(text)}) == 1
    assert name.replace("|", "\\|") in text


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [
        row("one", fps=nan, **FASTER | {"speedup": nan, "speedup_lo": nan, "speedup_hi": nan}),
        row("two", batch=8, fps=float("inf"), **FASTER | {"speedup_lo": nan}),
    ]
    second, first = table_cells(report_of(tmp_path / "run", rows))
    assert (first["fps"], first["speedup"]) == ("", "")
    assert second["speedup"] == "4.34"


def test_a_note_of_a_point_that_is_ok_is_shown(tmp_path: Path) -> None:
    text = report_of(tmp_path / "run", [row("one", reason="the reference strategy ran out of memory")])
    assert "`one` is **ok**: the reference strategy ran out of memory" in text


def test_a_run_of_before_there_were_speed_ups(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [row("one", **AGREED)])
    kept = ("point", "strategy", "variant", "model", "data", "device", "dtype", "batch", "objects", "refs", "targets")
    one = row("one", status="ok", reason="")
    lines = [
        ",".join((*kept, "status", "reason", "fps")),
        ",".join(str(one[name]) for name in (*kept, "status")) + ",,1.5",
    ]
    (folder / "summary.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (cells,) = table_cells(text_of(folder))
    assert cells["fps"] == "1.5"
    assert "speedup" not in cells


def test_masks_that_overflowed_are_reported(tmp_path: Path) -> None:
    overflowed = AGREED | {"max_abs_dlogit": float("inf"), "iou_min": 0.0}
    text = report_of(tmp_path / "run", [row("one", status="wrong", reason="too far", **overflowed)])
    assert "inf" in text


@pytest.mark.slow
def test_two_hundred_points_of_ten_strategies(tmp_path: Path) -> None:
    rows = [
        row(f"{strategy}-{batch}-{objects}", strategy=f"strategy{strategy}", batch=batch, objects=objects, **FASTER)
        for strategy in range(10)
        for batch in (1, 8, 16, 32, 64)
        for objects in (1, 4, 16, 64)
    ]
    some = [one["point"] for one in rows[::20]]
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o16", some)
    text = written_report_of(tmp_path / "run", rows)
    assert len(table_lines(text)) == 200
    for path in (tmp_path / "run").glob("*.png"):
        assert max(size_of(path)) < 4000, path.name
    assert (tmp_path / "run" / "report.html").stat().st_size < 3e6


def test_a_report_that_is_a_link_is_replaced_and_what_it_names_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.md"
    theirs.write_text("keep")
    folder = run_folder(tmp_path / "run", [row("one")])
    for name in ("report.md", "report.html", "throughput.png", "throughput.svg"):
        (folder / name).symlink_to(theirs)
    assert "12.5" in write_report(folder).read_text(encoding="utf-8")
    assert theirs.read_text() == "keep"


def test_a_full_disk_leaves_the_report_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path / "run", [ended("one", "crash", "no")])
    before = write_report(folder).read_bytes()
    fill_the_disk(monkeypatch)
    assert main([str(folder)]) == 2
    assert "can't be written (No space left on device)" in complaint(capsys.readouterr().err)
    assert (folder / "report.md").read_bytes() == before


@pytest.mark.slow
def test_pipes_and_pictures_of_any_size_keep_nobody_waiting(tmp_path: Path) -> None:
    scene = tmp_path / "run" / "pictures" / "0a1b2c3d-o4"
    draw_scene(scene, ["one"])
    (target,) = scene.glob("*/target*-one.png")
    for name in ("two.json", "zero.json"):
        (tmp_path / "run" / "points").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "run" / "points" / name)
    for path in scene.glob("*/reference*.png"):
        path.unlink()
        os.mkfifo(path)
    Image.new("1", (20_000, 20_000)).save(target)
    assert "12.5" in written_report_of(tmp_path / "run", [row("one", **AGREED)])


@pytest.mark.parametrize("status", ["oom", "crash", "timeout", "wrong", "skipped"])
def test_a_grid_that_ended_badly_everywhere(tmp_path: Path, status: str) -> None:
    rows = [
        ended(f"b{batch}o{objects}", status, "because", batch=batch, objects=objects, reference="sequential")
        for batch in (1, 8, 64)
        for objects in (1, 4, 16, None)
    ]
    text = written_report_of(tmp_path / "run", rows, environment={"device": None})
    assert "Nothing can be recommended on an unknown device" in text
    assert text.count("because") == 1, "points that ended alike share a line"
    assert ("(memory-frontier.png)" in text) == (status == "oom")
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_what_a_machine_cannot_run_is_listed_quietly_and_last(tmp_path: Path) -> None:
    skipped = [ended(f"triton{batch}", "skipped", "triton needs a GPU", batch=batch) for batch in range(20)]
    text = report_of(tmp_path / "run", [*skipped, row("one"), ended("two", "crash", "no", batch=8)])
    failures = text.split("## What did not work")[1].split("\n## ")[0]
    assert failures.index("`two` is **crash**: no") < failures.index("Not tried, which is no failure")
    assert "`triton11` and 8 more are **skipped**: triton needs a GPU" in failures.replace("`, and", "` and")
    quiet = report_of(tmp_path / "quiet", [*skipped, row("one")])
    assert "What did not work" not in quiet
    assert "## What was not tried" in quiet


def test_names_of_groups_are_shown_as_they_are(tmp_path: Path) -> None:
    ious = {f"{name}/1": {"iou_mean": 0.5} for name in ("木|<b>", "Größe 🌿")}
    details = {"one": {"agreement": {"per_object": ious}, "outliers": {"木": [True, False]}}}
    samples_of = row("one", **FASTER | AGREED)
    text = written_report_of(tmp_path / "run", [samples_of], details=details)
    assert table_cells(text.replace("\\|", "!"), "Are the masks the same")[0]["least alike"] == "木!<b>/1"
    assert "木|&lt;b&gt;/1" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("![x](http://127.0.0.1:9/x.png)", r"!\[x\](http://127.0.0.1:9/x.png)"),
        (r"\[x](y)", r"\\\[x\](y)"),
        ("*a* _b_ c_d __e", r"\*a\* \_b\_ c_d \_\_e"),
        ("`a ~~b~~ <c>", r"\`a \~\~b\~\~ \<c>"),
        ("&lt; &#60; & &c", r"\&lt; \&#60; & &c"),
    ],
    ids=str,
)
def test_a_groups_name_is_no_markdown(tmp_path: Path, name: str, escaped: str) -> None:
    agreement = {"worst": [worst_target(group=name, iou=0.5)]}
    text = report_of(tmp_path / "run", [row("one", **AGREED)], details={"one": {"agreement": agreement}})
    assert f"| {escaped} |" in text
    (cells,) = table_cells(text, "Where they agree least")
    assert cells["group"] == name


def test_no_escape_reaches_a_terminal_or_a_page(tmp_path: Path) -> None:
    evil = "a\x1b[2J\x07b\N{RIGHT-TO-LEFT OVERRIDE}c"
    rows = [row("one", strategy=evil, variant=""), ended("two", "crash", evil, command=f"python {evil}")]
    text = written_report_of(tmp_path / "run", rows)
    assert r"a\x1b" in text.replace("\\\\", "\\")
    for path in (tmp_path / "run").glob("*.[mhs]*"):
        assert not {"\x1b", "\x07", "\N{RIGHT-TO-LEFT OVERRIDE}"} & set(path.read_text(encoding="utf-8")), path.name


@pytest.mark.slow
def test_an_environment_of_any_kind_crashes_nothing(tmp_path: Path) -> None:
    run_folder(tmp_path, [ended("one", "crash", "no")])  # Without figures, which take long to make.
    for damaged in (None, 3, "x", [None], {"a": {}}, 10**400):
        for place in ("device", "cpu", "gpu", "packages", "threads", "git_changed"):
            (tmp_path / "environment.json").write_text(json.dumps({"python": "3", place: damaged}))
            assert "- Python: 3" in text_of(tmp_path)
