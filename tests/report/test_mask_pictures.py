"""Pictures of masks in a report: what each row shows, which targets are shown, and what damaged ones do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from report.reading.run import read_run
from report.render.document import Drawing
from report.render.figures import rendered
from report.sections.are_the_masks_the_same import agreement_section
from report.sections.mask_pictures import DIFFERENT, draw_masks
from tests.support.harness_runs import ended, row
from tests.support.report_runs import (
    AGREED,
    AGREEMENT,
    SCENE,
    draw_scene,
    draw_targets,
    run_folder,
    section_of,
    size_of,
    table_cells,
    worst_target,
    written_report_of,
)

TITLE, WORST = "Are the masks the same", "Where they agree least"


def strategy(name: str, **changes: Any) -> dict[str, Any]:
    """Return a row whose point has the strategy's name and the masks of `sequential`."""
    return row(name, strategy=name, variant="", iou_min=1.0, **changes)


def drawn(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Drawing | None:
    return draw_masks(read_run(run_folder(folder, rows, **options)))


def columns(drawing: Drawing | None) -> list[str]:
    assert drawing is not None
    return [panel.get_title() for panel in drawing.figure.axes if panel.get_title()]


def beside(drawing: Drawing | None) -> list[list[str]]:
    """Return the lines beside each row."""
    assert drawing is not None
    return [panel.get_ylabel().splitlines() for panel in drawing.figure.axes if panel.get_ylabel()]


def test_masks_are_shown_where_the_run_kept_pictures(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / SCENE, ["one"])
    text = written_report_of(tmp_path / "run", [row("one"), row("two", strategy="other")])
    assert "(masks.png)" in text
    assert min(size_of(tmp_path / "run" / "masks.png")) > 100
    assert "masks.png" not in written_report_of(tmp_path / "other", [row("one")])


def test_a_row_shows_a_target_its_truth_both_predictions_and_where_they_differ(tmp_path: Path) -> None:
    target = worst_target(group="second", number=1, target=40, object_id=7, iou=0.25)
    draw_targets(tmp_path / "run" / "pictures" / SCENE, "far", [target], cut=3)
    drawing = drawn(tmp_path / "run", [strategy("sequential"), strategy("far", status="wrong", reason="far off")])
    assert columns(drawing) == ["reference", "target", "truth", "sequential", "the strategy", "difference"]
    assert beside(drawing) == [["far", "second", "target 40", "object 7:", "IoU 0.25000"]]
    assert drawing is not None
    assert drawing.figure.axes[-1].get_xlabel() == "45 px", "three rows of fifteen"
    assert "orange marks" in drawing.caption.lower()


def test_the_orange_marks_are_where_the_predictions_differ(tmp_path: Path) -> None:
    draw_targets(tmp_path / "run" / "pictures" / SCENE, "far", [worst_target(iou=0.5)], cut=2)
    drawing = drawn(tmp_path / "run", [strategy("far")])
    assert drawing is not None
    (shown,) = (np.asarray(image.get_array()) for image in drawing.figure.axes[-1].images)
    orange = np.isclose(shown, DIFFERENT).all(axis=2)
    assert orange[8:10, 5:20].all()
    assert not orange[:7].any(), "marks are wider by a pixel"
    assert not orange[:, :4].any()


def test_every_strategy_that_differs_has_its_worst_target_shown_before_any_has_a_second(tmp_path: Path) -> None:
    ious = {f"s{number}": [0.1 * number + 0.01 * place for place in range(3)] for number in range(1, 5)}
    for name, worst in ious.items():
        targets = [worst_target(target=place, iou=iou) for place, iou in enumerate(worst)]
        draw_targets(tmp_path / "run" / "pictures" / SCENE, name, targets, cut=1)
    drawing = drawn(tmp_path / "run", [strategy(name) for name in ("sequential", *ious)])
    lines = beside(drawing)
    assert [(line[0], line[2]) for line in lines] == [
        *(("s1", "target 0"), ("s1", "target 1"), ("s2", "target 0"), ("s2", "target 1")),
        *(("s3", "target 0"), ("s4", "target 0")),
    ]


def test_of_a_strategys_points_that_differ_the_one_with_the_largest_batch_is_shown(tmp_path: Path) -> None:
    ious = {"b4": 0.1, "b8": 0.5, "b8worse": 0.4, "b16": 1.0}
    for number, (name, iou) in enumerate(ious.items()):
        draw_targets(
            tmp_path / "run" / "pictures" / SCENE, name, [worst_target(target=number, iou=iou), worst_target(target=9)]
        )
    rows = [row(name, batch=int(name[1:].removesuffix("worse")), repeat=number) for number, name in enumerate(ious)]
    (lines,) = beside(drawn(tmp_path / "run", rows))
    assert lines[1:] == ["specimen000", "target 2", "object 254:", "IoU 0.40000"]


def test_where_no_strategy_differs_a_few_targets_are_shown_and_it_is_said_of_how_many(tmp_path: Path) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    for name in ("sequential", "direct"):
        draw_targets(scene, name, [worst_target(target=target) for target in range(3)])
    rows = [strategy("sequential", batch=8), strategy("direct")]
    details = {name: {"agreement": AGREEMENT | {"targets": 29066}} for name in ("sequential", "direct")}
    drawing = drawn(tmp_path / "run", rows, details=details)
    assert beside(drawing) == [["direct", "specimen000", f"target {target}"] for target in range(3)]
    assert drawing is not None
    assert "none of the 29066 that each point was compared on" in drawing.caption


@pytest.mark.parametrize(
    "changes", [{"iou_min": 0.5}, {"status": "wrong", "reason": "in the timed blocks"}, {"iou_min": None}], ids=str
)
def test_that_none_differs_is_said_only_where_it_is_known(tmp_path: Path, changes: dict[str, Any]) -> None:
    draw_targets(tmp_path / "run" / "pictures" / SCENE, "one", [worst_target()])
    rows = [strategy("one") | changes]
    drawing = drawn(tmp_path / "run", rows, details={"one": {"agreement": AGREEMENT}})
    assert drawing is not None
    assert drawing.caption == "The first targets."


def test_columns_without_any_picture_are_left_out(tmp_path: Path) -> None:
    target = worst_target(object_id=None, iou=None)
    draw_targets(tmp_path / "run" / "pictures" / SCENE, "one", [target], truth=False, compared=False)
    drawing = drawn(tmp_path / "run", [row("one")])
    assert columns(drawing) == ["reference", "target", "the strategy"]
    assert drawing is not None
    assert drawing.caption == "The first targets."


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged", ["reference", "target0", "target0-one", "target0-expected", "target0-labels", "reference-labels"]
)
def test_damaged_pictures_are_as_good_as_none(tmp_path: Path, damaged: str) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    draw_scene(scene, ["one", "two"])
    whole = (scene / "0" / "reference.png").read_bytes()
    for content in (b"", whole[:60], whole[:-30], whole.replace(b"IDAT", b"IDAX"), b"\xff" + whole[1:]):
        (scene / "0" / f"{damaged}.png").write_bytes(content)
        rows = [row("one"), row("two", strategy="sequential", variant="")]
        text = section_of(tmp_path / "run", rows, agreement_section)
        assert ("masks.png" in text) == (damaged != "target0")


@pytest.mark.slow
@pytest.mark.parametrize("stored", [None, 3, [], {}, {"targets": 3}, {"targets": [None, 3, "x", {}]}], ids=str)
def test_a_list_of_targets_of_any_kind_crashes_nothing(tmp_path: Path, stored: Any) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    draw_scene(scene, ["one"])
    (scene / "one.json").write_text(json.dumps(stored))
    assert "masks.png" not in section_of(tmp_path / "run", [row("one", **AGREED)], agreement_section)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["group", "number", "target", "object_id", "iou"])
@pytest.mark.parametrize("value", [None, -1, 1e300, "../x\0", [], {}], ids=str)
def test_a_target_of_any_kind_crashes_nothing(tmp_path: Path, name: str, value: Any) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    draw_scene(scene, ["one"])
    (scene / "one.json").write_text(json.dumps({"targets": [worst_target(iou=0.5) | {name: value}]}))
    details = {"one": {"agreement": AGREEMENT | {"worst": [worst_target(iou=0.5) | {name: value}]}}}
    assert TITLE in section_of(tmp_path / "run", [row("one", **AGREED)], agreement_section, details=details)


def test_a_run_of_before_the_worst_targets_were_kept_has_no_masks(tmp_path: Path) -> None:
    old = tmp_path / "run" / "pictures" / SCENE
    old.mkdir(parents=True)
    for name in ("reference", "reference-labels", "target0", "target0-labels", "target0-one"):
        Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(old / f"{name}.png")
    details = {"one": {"agreement": AGREEMENT}}
    text = section_of(tmp_path / "run", [row("one", **AGREED)], agreement_section, details=details)
    assert TITLE in text
    assert "masks.png" not in text
    assert "Where they agree least" not in text


def test_what_a_point_that_failed_later_left_is_not_shown(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / SCENE, ["one"])
    assert drawn(tmp_path / "run", [ended("one", "crash", "no")]) is None


@pytest.mark.slow
@pytest.mark.parametrize("group", ["木|<b>", "a$x_{", "long " * 40, "w" * 300, "\udc80", "two\nlines", ""])
def test_a_group_of_any_name(tmp_path: Path, group: str) -> None:
    target = worst_target(group=group, iou=0.5)
    draw_targets(tmp_path / "run" / "pictures" / SCENE, "one", [target], cut=1)
    agreement = AGREEMENT | {"worst": [target], "per_object": {f"{group}/254": {"iou_mean": 0.5}}}
    rows, details = [row("one", **AGREED)], {"one": {"agreement": agreement}}
    text = section_of(tmp_path / "run", rows, agreement_section, details=details)
    assert "masks.png" in text
    drawing = draw_masks(read_run(tmp_path / "run"))
    assert drawing is not None
    with Image.open(BytesIO(rendered(drawing)[1]["masks.png"])) as picture:
        assert max(picture.size) < 2000
    (cells,) = table_cells(text.replace("\\|", "!"), WORST)
    assert cells["object"] == "254"
