"""Agreement in a report: whether masks are the same, why known ones are not, and pictures of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.harness_runs import row
from tests.report_runs import AGREED, draw_scene, report_of, size_of, table_cells

TITLE = "Are the masks the same"
LIMITS = {"typical_dlogit": 1e-4, "largest_dlogit": 1e-3, "iou": 0.99, "gate_score": 0.1, "pick_margin": 0.01}
AGREEMENT: dict[str, Any] = {
    **{"iou_mean": 1.0, "iou_p1": 1.0, "iou_min": 0.9, "share_at_99": 0.875, "max_abs_dlogit": 1e-5},
    **{"relative_dlogit": 1e-6, "typical_dlogit": 1e-6, "iou_alike": 1.0, "max_abs_dscore": 0.0, "max_abs_diou": 0.0},
    **{"gate_flips": 0, "pick_flips": 0, "excused_flips": 0, "gate_flip_score": 0.0, "pick_flip_margin": 0.0},
    **{"targets": 8, "per_object": {"木/1": {"iou_mean": 0.98}, "木/2": {"iou_mean": 0.93}}},
}
FLOOR = {"largest_dlogit": 2e-4, "iou": 0.9975, "gate_flips": 1, "pick_flips": 2}


def draw(folder: Path, name: str, *, cut: int = 0) -> None:
    """A prediction of the scene's target, as it draws them but for so many rows."""
    labels = np.zeros((20, 30), dtype=np.uint8)
    labels[5 : 10 - cut, 5:20] = 254
    Image.fromarray(labels).save(folder / f"{name}.png")


def test_masks_are_shown_where_the_run_kept_pictures(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", ["one"])
    text = report_of(tmp_path / "run", [row("one"), row("two", strategy="other")])
    assert "(masks.png)" in text
    assert min(size_of(tmp_path / "run" / "masks.png")) > 100


def test_a_run_without_pictures_or_truth(tmp_path: Path) -> None:
    draw_scene(tmp_path / "run" / "pictures" / "0a1b2c3d-o4", [], truth=False)
    assert "(masks.png)" in report_of(tmp_path / "run", [row("one")])
    assert "masks.png" not in report_of(tmp_path / "other", [row("one")])


def test_the_strategy_that_differs_most_is_shown_with_its_difference(tmp_path: Path) -> None:
    rows = [row(name, strategy=name, variant="") for name in ("sequential", "direct", "near", "far")]
    for run, cuts in (("run", {"near": 1, "far": 3}), ("same", {})):
        scene = tmp_path / run / "pictures" / "0a1b2c3d-o4"
        draw_scene(scene, [one["point"] for one in rows])
        for name, cut in cuts.items():
            draw(scene, f"target0-{name}", cut=cut)
    text = report_of(tmp_path / "run", rows)
    assert "orange marks, widened, pixels where `far` has another object or none" in text
    assert "in none of them does any pixel differ from `sequential`" in report_of(tmp_path / "same", rows)
    assert size_of(tmp_path / "run" / "masks.png")[0] > size_of(tmp_path / "same" / "masks.png")[0], "one column more"


@pytest.mark.parametrize("damaged", ["reference", "target0", "target0-one", "reference-labels"])
def test_damaged_pictures_are_as_good_as_none(tmp_path: Path, damaged: str) -> None:
    scene = tmp_path / "run" / "pictures" / "0a1b2c3d-o4"
    draw_scene(scene, ["one", "two"])
    for content in (b"", (scene / "reference.png").read_bytes()[:60]):
        (scene / f"{damaged}.png").write_bytes(content)
        text = report_of(tmp_path / "run", [row("one"), row("two", strategy="sequential", variant="")])
        assert ("masks.png" in text) == (damaged != "target0")


def test_agreement_has_a_table_that_names_the_worst_object(tmp_path: Path) -> None:
    details = {"one": {"agreement": AGREEMENT, "limits": LIMITS, "noise_floor": FLOOR}}
    text = report_of(tmp_path / "run", [row("one", **AGREED)], details=details)
    (cells,) = table_cells(text, TITLE)
    assert (cells["masks"], cells["least alike"], cells["IoU >= 0.99"]) == ("same", "木/2", "87.5%")
    assert "logits up to 2.0e-04 of their scale apart, a mean IoU of 0.9975, 3 flips" in text


@pytest.mark.parametrize(
    ("changes", "masks"),
    [
        ({}, "same"),
        ({"typical_dlogit": 1e-2}, "differ"),
        ({"pick_flips": 3, "excused_flips": 3}, "same"),
        ({"pick_flips": 3, "excused_flips": 2}, "differ"),
        ({"iou_alike": 0.9}, "differ"),
    ],
    ids=str,
)
def test_every_strategy_is_judged_by_the_rule_of_exact_ones(
    tmp_path: Path, changes: dict[str, Any], masks: str
) -> None:
    details = {"one": {"agreement": AGREEMENT | changes, "limits": LIMITS}}
    text = report_of(tmp_path / "run", [row("one", **AGREED)], details=details)
    assert table_cells(text, TITLE)[0]["masks"] == masks


@pytest.mark.parametrize("agreement", [None, 3, {}, {"iou_mean": 1.0}, AGREEMENT | {"typical_dlogit": None}], ids=str)
@pytest.mark.parametrize(
    ("changes", "masks"), [({}, "same"), ({"pick_flips": 1}, "differ"), ({"pick_flips": 1, "dtype": "bf16"}, None)]
)
def test_without_the_whole_agreement_its_columns_tell(
    tmp_path: Path, agreement: Any, changes: dict[str, Any], masks: str | None
) -> None:
    details = {"one": {"agreement": agreement, "limits": LIMITS}}
    text = report_of(tmp_path / "run", [row("one", **AGREED | changes)], details=details)
    assert table_cells(text, TITLE)[0].get("masks") == masks


def test_known_differences_are_explained_in_a_sentence_each(tmp_path: Path) -> None:
    propagate = row("one", strategy="propagate", variant="", **AGREED)
    raw = row("two", strategy="extended_session", variant="raw", **AGREED)
    pinned = row("three", strategy="extended_session", variant="pinned", **AGREED)
    told = report_of(tmp_path / "run", [propagate, raw, pinned])
    assert "`propagate` lets every target remember the predictions before it" in told
    assert "`extended_session (raw)` keeps targets in slots at other distances in time" in told
    assert "in slots" not in report_of(tmp_path / "pinned", [pinned])
    assert "remember" not in report_of(tmp_path / "failed", [propagate | {"status": "crash", "reason": "no"}])
