"""One point measured: what its row says, and when masks count as wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.agreement import Agreement
from harness.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.pictures import PictureBook
from harness.points import Point
from harness.results import COLUMNS, PointResult
from harness.runner import describe, disagreement, measure_point
from harness.sources import open_groups
from harness.workload import Workload
from strategies import Direct, Predictions, References, Sam2, VisionFeatures
from tests.harness_runs import point

TARGETS = 3
SMALL: dict[str, Any] = {
    "data": SyntheticConfig(name="synthetic", groups=2, parts=3, height=64, width=96, absent=0),
    "targets": TARGETS,
    "refs": 1,
    "timing": TimingConfig(min_seconds=0, min_passes=2),
}


def agreement(**changes: Any) -> Agreement:
    """Perfect, but for the changes."""
    perfect = Agreement(
        iou_mean=1.0,
        iou_p1=1.0,
        iou_min=1.0,
        share_at_99=1.0,
        max_abs_dlogit=0.0,
        relative_dlogit=0.0,
        gate_flips=0,
        pick_flips=0,
        targets=8,
        per_object={},
    )
    return replace(perfect, **changes)


# --- when masks are wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_masks_that_agree_are_right(dtype: str) -> None:
    assert disagreement(agreement(), dtype) is None


def test_float_noise_is_right_in_fp32() -> None:
    assert disagreement(agreement(relative_dlogit=1e-4, max_abs_dlogit=3e-3), "fp32") is None


@pytest.mark.parametrize("relative", [1.1e-4, 0.5, math.inf])
def test_more_than_float_noise_is_wrong_in_fp32_however_alike_the_masks_look(relative: float) -> None:
    reason = disagreement(agreement(relative_dlogit=relative), "fp32")
    assert reason is not None
    assert f"{relative:.1e}" in reason
    assert "sequential" in reason


@pytest.mark.parametrize(("gates", "picks", "told"), [(1, 0, "1 "), (0, 1, "1 "), (2, 3, "5 ")])
def test_a_flip_is_wrong_in_fp32(gates: int, picks: int, told: str) -> None:
    reason = disagreement(agreement(gate_flips=gates, pick_flips=picks), "fp32")
    assert reason is not None
    assert reason.startswith(told)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_in_reduced_precision_flips_and_noise_are_counted_and_are_not_wrong(dtype: str) -> None:
    assert disagreement(agreement(gate_flips=2, pick_flips=9, relative_dlogit=0.2, iou_mean=0.995), dtype) is None


@pytest.mark.parametrize(("dtype", "iou"), [("bf16", 0.979), ("fp16", 0.989), ("fp16", 0.0)])
def test_in_reduced_precision_other_masks_are_wrong(dtype: str, iou: float) -> None:
    reason = disagreement(agreement(iou_mean=iou), dtype)
    assert reason is not None
    assert f"{iou:.3f}" in reason
    assert dtype in reason


# --- rows ----------------------------------------------------------------------------------------------------------


def test_a_point_that_never_ran_is_described_by_what_was_asked_for() -> None:
    asked = point("direct", bank="repeat", batch=3, objects=None, refs=None, overrides=["batch=3"])
    assert describe(asked) == {
        "point": asked.name,
        "strategy": "direct",
        "bank": "repeat",
        "model": "toy",
        "data": "synthetic",
        "dtype": "fp32",
        "batch": 3,
        "objects": None,
        "refs": None,
        "targets": 16,
        "command": "python -m harness batch=3",
    }


class Lying(Direct):
    """Calls itself exact and gives the masks of the wrong objects."""

    def _predict(self, targets: VisionFeatures) -> Predictions:
        right = super()._predict(targets)
        return replace(right, logits=right.logits.flip(1), object_scores=right.object_scores.flip(1))


class Approximate(Lying):
    exact = False


class Tiring(Lying):
    """Right until every target was predicted once."""

    def _prepare(self, references: References) -> None:
        super()._prepare(references)
        self._seen = 0

    def _predict(self, targets: VisionFeatures) -> Predictions:
        self._seen += len(targets)
        return Direct._predict(self, targets) if self._seen <= TARGETS else super()._predict(targets)


class Bench:
    """One small workload of the lively model, on which points are measured."""

    def __init__(self, model: Sam2, folder: Path) -> None:
        groups = open_groups(point(**SMALL).config)
        self.folder = folder
        self.workload = Workload(model, groups, options=EncodeConfig(), folder=folder / "features")

    def measure(self, strategy: str = "direct", *, target: type | None = None, **options: Any) -> PointResult:
        measured = self.point(strategy, target=target, **options)
        pictures = PictureBook(self.folder / "run", targets=measured.config.pictures)
        return measure_point(measured, self.workload, pictures)

    def point(self, strategy: str = "direct", *, target: type | None = None, **options: Any) -> Point:
        made = point(strategy, **(SMALL | options))
        if target is not None:
            made.config.strategy["_target_"] = f"{target.__module__}.{target.__qualname__}"
        return made


@pytest.fixture(scope="module")
def bench(model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(model, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def measured(bench: Bench) -> PointResult:
    return bench.measure(batch=2)


def test_a_measured_point_is_ok_and_says_what_was_measured(measured: PointResult) -> None:
    row = measured.row
    assert (row["status"], row["reason"]) == ("ok", None)
    assert (row["batch"], row["objects"], row["targets"]) == (2, 3, 6), "3 targets in each of 2 groups"
    assert row["device"]
    assert set(row) <= set(COLUMNS)
    for column in ("fps", "objects_per_s", "encode_fps", "bank_s", "peak_rss_mb"):
        assert row[column] > 0, column
    assert row["vram_peak_mb"] is None
    assert row["objects_per_s"] == pytest.approx(3 * row["fps"])


def test_its_masks_are_compared_with_sequential_and_with_the_truth(measured: PointResult) -> None:
    row, details = measured.row, measured.details
    assert (row["gate_flips"], row["pick_flips"]) == (0, 0)
    assert row["iou_min"] > 0.99
    assert 0 <= row["jf"] <= 1
    assert row["jf"] == pytest.approx((row["j"] + row["f"]) / 2)
    names = {f"specimen{group:03d}/{identity}" for group in range(2) for identity in (1, 2, 3)}
    assert set(details["agreement"]["per_object"]) == set(details["scores"]["per_object"]) == names
    assert details["agreement"]["targets"] == 6, "each target once, however many passes there are"


def test_its_samples_cover_every_target_of_every_group_in_every_pass(measured: PointResult) -> None:
    taken = [(one.group, one.pass_number, one.first, one.targets) for one in measured.samples]
    assert taken == [
        (group, number, first, count)
        for group in ("specimen000", "specimen001")
        for number in range(2)
        for first, count in ((0, 2), (2, 1))
    ]


def test_pictures_of_the_first_targets_show_ids_of_the_group(bench: Bench, measured: PointResult) -> None:
    (scene,) = [path for path in (bench.folder / "run" / "pictures").iterdir() if path.name.endswith("-oall")]
    kept = sorted(path.name for path in scene.glob(f"*-{measured.row['point']}.png"))
    assert kept == [f"target{index}-{measured.row['point']}.png" for index in range(3)]
    labels = np.array(Image.open(scene / kept[0]))
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    with Image.open(scene / "target0.png") as picture:
        assert picture.size == labels.shape[::-1]
    assert (scene / "reference-labels.png").is_file()


def test_fewer_objects_are_the_first_ones(bench: Bench) -> None:
    result = bench.measure(objects=1, pictures=0)
    assert result.row["status"] == "ok"
    assert result.row["objects"] == 1
    assert set(result.details["scores"]["per_object"]) == {"specimen000/1", "specimen001/1"}


def test_wrong_masks_are_wrong_and_say_by_how_much(bench: Bench) -> None:
    result = bench.measure(target=Lying, pictures=0)
    assert result.row["status"] == "wrong"
    assert "sequential" in result.row["reason"]
    assert result.row["iou_mean"] < 1


def test_masks_that_are_wrong_only_while_timed_are_wrong(bench: Bench) -> None:
    result = bench.measure(target=Tiring, pictures=0)
    assert result.row["status"] == "wrong"
    assert result.row["iou_min"] > 0.99, "the first pass, which the columns tell of, was right"


def test_a_strategy_that_does_not_claim_to_be_exact_is_told_how_far_it_is_and_is_not_wrong(bench: Bench) -> None:
    result = bench.measure(target=Approximate, pictures=0)
    assert (result.row["status"], result.row["reason"]) == ("ok", None)
    assert result.row["iou_mean"] < 1


def test_without_comparison_nothing_is_said_about_agreement(bench: Bench) -> None:
    result = bench.measure(target=Lying, compare=False, pictures=0)
    assert result.row["status"] == "ok"
    assert "iou_mean" not in result.row
    assert result.details["agreement"] is None
    assert result.row["jf"] is not None, "the truth is there all the same"
