"""Agreement in a report: whether masks are the same, why known ones are not, and pictures of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from report import write_report
from report.reading.run import read_run
from report.render.document import Drawing
from report.sections.mask_pictures import DIFFERENT, draw_masks
from tests.support.harness_runs import ended, row
from tests.support.report_runs import (
    AGREED,
    draw_scene,
    draw_targets,
    report_of,
    run_folder,
    size_of,
    table_cells,
    worst_target,
    written_report_of,
)

TITLE, WORST = "Are the masks the same", "Where they agree least"
LIMITS = {"typical_dlogit": 1e-4, "largest_dlogit": 1e-3, "iou": 0.99, "gate_score": 0.1, "pick_margin": 0.01}
AGREEMENT: dict[str, Any] = {
    **{"iou_mean": 1.0, "iou_p1": 1.0, "iou_min": 0.9, "share_at_99": 0.875, "max_abs_dlogit": 1e-5},
    **{"relative_dlogit": 1e-6, "typical_dlogit": 1e-6, "iou_alike": 1.0, "max_abs_dscore": 0.0, "max_abs_diou": 0.0},
    **{"gate_flips": 0, "pick_flips": 0, "excused_flips": 0, "gate_flip_score": 0.0, "pick_flip_margin": 0.0},
    **{"targets": 8, "per_object": {"木/1": {"iou_mean": 0.98}, "木/2": {"iou_mean": 0.93}}},
}
FLOOR = {"largest_dlogit": 2e-4, "iou": 0.9975, "gate_flips": 1, "pick_flips": 2}


SCENE = "0a1b2c3d-o4"


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


# --- pictures ------------------------------------------------------------------------------------------------------


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
        text = report_of(tmp_path / "run", [row("one"), row("two", strategy="sequential", variant="")])
        assert ("masks.png" in text) == (damaged != "target0")


@pytest.mark.slow
@pytest.mark.parametrize("stored", [None, 3, [], {}, {"targets": 3}, {"targets": [None, 3, "x", {}]}], ids=str)
def test_a_list_of_targets_of_any_kind_crashes_nothing(tmp_path: Path, stored: Any) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    draw_scene(scene, ["one"])
    (scene / "one.json").write_text(json.dumps(stored))
    assert "masks.png" not in report_of(tmp_path / "run", [row("one")])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["group", "number", "target", "object_id", "iou"])
@pytest.mark.parametrize("value", [None, -1, 1e300, "../x\0", [], {}], ids=str)
def test_a_target_of_any_kind_crashes_nothing(tmp_path: Path, name: str, value: Any) -> None:
    scene = tmp_path / "run" / "pictures" / SCENE
    draw_scene(scene, ["one"])
    (scene / "one.json").write_text(json.dumps({"targets": [worst_target(iou=0.5) | {name: value}]}))
    details = {"one": {"agreement": AGREEMENT | {"worst": [worst_target(iou=0.5) | {name: value}]}}}
    assert "All points" in report_of(tmp_path / "run", [row("one")], details=details)


def test_a_run_of_before_the_worst_targets_were_kept_has_no_masks(tmp_path: Path) -> None:
    old = tmp_path / "run" / "pictures" / SCENE
    old.mkdir(parents=True)
    for name in ("reference", "reference-labels", "target0", "target0-labels", "target0-one"):
        Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(old / f"{name}.png")
    text = written_report_of(tmp_path / "run", [row("one", **AGREED)], details={"one": {"agreement": AGREEMENT}})
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
    text = written_report_of(tmp_path / "run", [row("one", **AGREED)], details={"one": {"agreement": agreement}})
    assert "masks.png" in text
    assert max(size_of(tmp_path / "run" / "masks.png")) < 2000
    (cells,) = table_cells(text.replace("\\|", "!"), WORST)
    assert cells["object"] == "254"


# --- the table of the worst targets --------------------------------------------------------------------------------


def test_the_worst_targets_are_in_a_table(tmp_path: Path) -> None:
    worst = {
        "sequential": [worst_target()],
        "near": [worst_target(group="a", target=3, object_id=1, iou=0.99998), worst_target(group="a")],
        "far": [worst_target(group="b", target=40, object_id=2, iou=0.25), worst_target(group="a", iou=0.5)],
    }
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    text = report_of(tmp_path / "run", [strategy(name) for name in worst], details=details)
    cells = [list(line.values()) for line in table_cells(text, WORST)]
    assert cells == [
        ["far", "1", "4", "b", "40", "2", "0.25000"],
        ["far", "1", "4", "a", "0", "254", "0.50000"],
        ["near", "1", "4", "a", "3", "1", "0.99998"],
    ]


def test_one_point_that_is_far_off_does_not_fill_the_table(tmp_path: Path) -> None:
    worst = {
        "far": [worst_target(target=target, iou=0.1 + 0.01 * target) for target in range(10)],
        "near": [worst_target(iou=0.9), worst_target(target=1, iou=0.95)],
    }
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    text = report_of(tmp_path / "run", [strategy(name) for name in worst], details=details)
    cells = table_cells(text, WORST)
    assert [(one["strategy"], one["target"]) for one in cells] == [
        *(("far", str(target)) for target in range(8)),
        *(("near", "0"), ("near", "1")),
    ]


def test_a_target_that_the_points_of_a_strategy_share_is_listed_once(tmp_path: Path) -> None:
    """The row with the lowest IoU stays, and of equal ones that with the largest batch."""
    worst = {
        "b1": [worst_target(iou=0.5), worst_target(target=1, iou=0.6)],
        "b8": [worst_target(iou=0.5), worst_target(target=1, iou=0.7)],
        "b4": [worst_target(iou=0.5), worst_target(group="b", iou=0.8)],
        "other": [worst_target(iou=0.5)],
    }
    rows = [strategy("far") | {"point": name, "batch": int(name[1:])} for name in ("b1", "b8", "b4")]
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    cells = table_cells(report_of(tmp_path / "run", [*rows, strategy("other")], details=details), WORST)
    rows = [(one["strategy"], one["batch"], one["group"], one["target"], one["IoU"]) for one in cells]
    assert sorted(rows) == [
        ("far", "1", "specimen000", "1", "0.60000"),
        ("far", "4", "b", "0", "0.80000"),
        ("far", "8", "specimen000", "0", "0.50000"),
        ("other", "1", "specimen000", "0", "0.50000"),
    ]


# --- numbers -------------------------------------------------------------------------------------------------------


def test_agreement_has_a_table_that_names_the_worst_object(tmp_path: Path) -> None:
    details = {"one": {"agreement": AGREEMENT, "limits": LIMITS, "noise_floor": FLOOR}}
    text = report_of(tmp_path / "run", [row("one", **AGREED)], details=details)
    (cells,) = table_cells(text, TITLE)
    assert (cells["masks"], cells["least alike"], cells["IoU >= 0.99"]) == ("same", "木/2", "87.5%")
    assert "logits up to 2.0e-04 of their scale apart, a mean IoU of 0.9975, 3 flips" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "masks"),
    [
        ({}, "same"),
        ({"typical_dlogit": 1e-2}, "differ"),
        ({"pick_flips": 3, "excused_flips": 3}, "same"),
        ({"pick_flips": 3, "excused_flips": 2}, "differ"),
        ({"iou_alike": 0.9}, "differ"),
        ({"worst": [worst_target(iou=0.9)], "pick_flips": 3, "excused_flips": 3}, "same"),
    ],
    ids=str,
)
def test_the_rule_for_exact_strategies_decides_for_every_strategy(
    tmp_path: Path, changes: dict[str, Any], masks: str
) -> None:
    details = {"one": {"agreement": AGREEMENT | changes, "limits": LIMITS}}
    text = report_of(tmp_path / "run", [row("one", **AGREED)], details=details)
    assert table_cells(text, TITLE)[0]["masks"] == masks


@pytest.mark.slow
@pytest.mark.parametrize("agreement", [None, 3, {}, {"iou_mean": 1.0}, AGREEMENT | {"typical_dlogit": None}], ids=str)
@pytest.mark.parametrize(
    ("changes", "masks"), [({}, "same"), ({"pick_flips": 1}, "differ"), ({"pick_flips": 1, "dtype": "bf16"}, None)]
)
def test_without_the_whole_agreement_its_columns_decide(
    tmp_path: Path, agreement: Any, changes: dict[str, Any], masks: str | None
) -> None:
    details = {"one": {"agreement": agreement, "limits": LIMITS}}
    text = report_of(tmp_path / "run", [row("one", **AGREED | changes)], details=details)
    assert table_cells(text, TITLE)[0].get("masks") == masks


def test_known_differences_are_explained_in_a_sentence_each(tmp_path: Path) -> None:
    propagate = row("one", strategy="propagate", variant="", **AGREED)
    raw = row("two", strategy="extended_session", variant="raw", **AGREED)
    pinned = row("three", strategy="extended_session", variant="pinned", **AGREED)
    text = report_of(tmp_path / "run", [propagate, raw, pinned])
    assert "`propagate` lets every target remember the predictions before it" in text
    assert "`extended_session (raw)` keeps targets in slots at other distances in time" in text
    assert "in slots" not in report_of(tmp_path / "pinned", [pinned])
    assert "remember" not in report_of(tmp_path / "failed", [propagate | {"status": "crash", "reason": "no"}])


# --- what the judge of masks adds ----------------------------------------------------------------------------------

JUDGED = {"fp32_masks": "same", "max_abs_dscore": 2.5e-3, "max_abs_diou": 1.5e-4, "checked_calls": 36}
NEW_FLOOR = FLOOR | {"fine": {"logits": {"largest": 3e-4}}}
ABOUT_FP32, ABOUT_CALLS = "`fp32_masks` are those of a few targets", "A mistake that spoils 3 in `checked_calls` calls"


def test_scores_predicted_ious_fp32_and_calls_have_columns(tmp_path: Path) -> None:
    details = {"one": {"noise_floor": {name: one for name, one in NEW_FLOOR.items() if name != "largest_dlogit"}}}
    rows = [
        row("one", masks="same", dtype="bf16", **AGREED | JUDGED),
        row("two", batch=8, masks="same", **AGREED | JUDGED | {"fp32_masks": None}),
        row(
            "three",
            batch=16,
            masks="same",
            status="wrong",
            reason="in fp32",
            **AGREED | JUDGED | {"fp32_masks": "differ"},
        ),
    ]
    text = report_of(tmp_path / "run", rows, details=details)
    cells = table_cells(text, TITLE)
    assert [(one["masks"], one["fp32_masks"]) for one in cells] == [("same", "same"), ("same", ""), ("same", "differ")]
    for one in cells:
        assert [one[name] for name in ("max_abs_dscore", "max_abs_diou", "checked_calls")] == [
            "2.5e-03",
            "1.5e-04",
            "36",
        ]
    assert ABOUT_FP32 in text
    assert ABOUT_CALLS in text
    assert "logits up to 3.0e-04 of their scale apart, a mean IoU of 0.9975, 3 flips" in text


def test_how_rare_a_mistake_shows_and_how_much_of_the_limits_is_used_is_told(tmp_path: Path) -> None:
    details = {
        "one": {"rarest_fault": 0.08, "share_of_limits": 0.31},
        "two": {"rarest_fault": 0.05, "share_of_limits": 0.62},
        "three": {"rarest_fault": 0.05, "share_of_limits": 7.5},
        "four": {"rarest_fault": "x", "share_of_limits": None},
    }
    others = [row(name, batch=8, masks="same", **AGREED) for name in ("two", "four")]
    rows = [row("one", masks="same", **AGREED | JUDGED), *others, row("three", masks="differ", **AGREED)]
    text = report_of(tmp_path / "run", rows, details=details)
    assert (
        f"{ABOUT_CALLS} shows with a probability of 95%. In every point one that spoils 8.0% of calls or more" in text
    )
    assert "Of the limits for noise, points whose masks are the same used at most 62%." in text


def test_an_old_run_without_these_columns_says_nothing_of_them(tmp_path: Path) -> None:
    details = {"one": {"agreement": AGREEMENT, "limits": LIMITS, "noise_floor": FLOOR}}
    folder = run_folder(tmp_path / "run", [row("one", **AGREED)], details=details)
    lines = (folder / "summary.csv").read_text(encoding="utf-8").splitlines()
    kept = [at for at, name in enumerate(lines[0].split(",")) if name not in (*JUDGED, "masks")]
    cut = [",".join(line.split(",")[at] for at in kept) for line in lines]
    (folder / "summary.csv").write_text("\n".join(cut) + "\n", encoding="utf-8")
    text = write_report(folder).read_text(encoding="utf-8")
    (cells,) = table_cells(text, TITLE)
    assert cells["masks"] == "same"
    assert not set(JUDGED) & set(cells)
    assert ABOUT_FP32 not in text
    assert ABOUT_CALLS not in text
    assert "In every point" not in text
    assert "Of the limits for noise" not in text
    assert "logits up to 2.0e-04 of their scale apart" in text


def test_damaged_noise_floors_are_left_out(tmp_path: Path) -> None:
    damaged: list[Any] = [None, 3, "x", [], {}, {"logits": 3}, {"logits": {"largest": None}}]
    floors = {f"b{at}": FLOOR | {"fine": fine} for at, fine in enumerate(damaged)} | {"whole": NEW_FLOOR}
    rows = [row(name, batch=at, **AGREED) for at, name in enumerate(floors, 1)]
    text = report_of(tmp_path / "run", rows, details={name: {"noise_floor": floor} for name, floor in floors.items()})
    assert "logits up to 3.0e-04 of their scale apart" in text


# --- random weights ------------------------------------------------------------------------------------------------


def weights_told(folder: Path, weights: str | None, worths: Sequence[Any]) -> str | None:
    """Return the caveat about random weights, of a run with a point for each of these; None where there is none."""
    details = {f"b{at}": {"worth": worth} for at, worth in enumerate(worths)}
    rows = [row(name, batch=at) for at, name in enumerate(details, 1)]
    text = written_report_of(folder, rows, config={"model": {"name": "toy", "weights": weights}}, details=details)
    return next((line for line in text.splitlines() if "random weights" in line), None)


@pytest.mark.slow
def test_what_agreement_on_random_weights_is_worth_is_said(tmp_path: Path) -> None:
    worths = [{"open_gates": share, "commonest_pick": 0.5} for share in (0.25, 0.75, 0.5)]
    told = weights_told(tmp_path / "run", "random", worths)
    assert told is not None
    assert "3 points have random weights" in told
    assert "(25% to 75% of the object-score gates are open)" in told
    assert weights_told(tmp_path / "shipped", None, worths) is None


def test_where_that_was_not_stored_or_is_damaged_it_is_left_out(tmp_path: Path) -> None:
    damaged: list[Any] = [None, 3, "x", [], {}, {"open_gates": "x"}, {"open_gates": None}]
    told = weights_told(tmp_path / "run", "random", [*damaged, {"open_gates": 0.5}])
    assert told is not None
    assert "8 points have random weights" in told
    assert "(50% to 50% of" in told
    told = weights_told(tmp_path / "old", "random", damaged)
    assert told is not None
    assert "gates" not in told
