"""One point measured: what its row says, and when masks count as wrong."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.sources import open_groups
from harness.masks.pictures import PictureBook
from harness.masks.rule import Agreement, Limits, NoiseFloor, disagreement
from harness.measure import point as runner
from harness.measure.point import describe, measure_point
from harness.options.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import SPEEDUP
from harness.workload.encode import Workload, encode_workload
from strategies import Direct, Predictions, Sam2, VisionFeatures
from tests.support.harness_runs import point

TARGETS = 3
SMALL: dict[str, Any] = {
    "data": SyntheticConfig(name="synthetic", groups=2, parts=3, height=64, width=96, absent=0),
    "targets": TARGETS,
    "refs": 1,
    "timing": TimingConfig(min_seconds=0, min_rounds=1, max_seconds=0, warmup_seconds=0, block_seconds=60),
}


LONG = TimingConfig(min_seconds=0, min_rounds=10, max_seconds=60, width=1e9, warmup_seconds=0, block_seconds=60)


def agreement(**changes: Any) -> Agreement:
    """Return perfect agreement, but for the changes."""
    perfect = Agreement(
        iou_mean=1.0,
        iou_p1=1.0,
        iou_min=1.0,
        share_at_99=1.0,
        max_abs_dlogit=0.0,
        relative_dlogit=0.0,
        typical_dlogit=0.0,
        iou_alike=1.0,
        max_abs_dscore=0.0,
        max_abs_diou=0.0,
        gate_flips=0,
        pick_flips=0,
        excused_flips=0,
        gate_flip_score=0.0,
        pick_flip_margin=0.0,
        targets=8,
        per_object={},
    )
    return replace(perfect, **changes)


# --- when masks are wrong ------------------------------------------------------------------------------------------


LIMITS = Limits(typical_dlogit=1e-4, largest_dlogit=0.02, iou=0.96, gate_score=0.004, pick_margin=0.008)


def test_masks_that_agree_are_right() -> None:
    assert disagreement(agreement(), LIMITS) is None


def test_masks_that_were_not_compared_are_not_wrong() -> None:
    assert disagreement(None, LIMITS) is None
    assert disagreement(None, None) is None


def test_noise_up_to_the_limits_and_excused_flips_are_right() -> None:
    noise = agreement(
        typical_dlogit=1e-4,
        relative_dlogit=0.02,
        iou_alike=0.96,
        iou_mean=0.7,
        gate_flips=1,
        pick_flips=2,
        excused_flips=3,
        gate_flip_score=0.004,
        pick_flip_margin=0.008,
    )
    assert disagreement(noise, LIMITS) is None


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"typical_dlogit": 1.1e-4}, ["median mask", "1.1e-04", "1.0e-04"]),
        ({"relative_dlogit": 0.5}, ["5.0e-01", "2.0e-02"]),
        ({"iou_alike": 0.95}, ["0.950", "0.960"]),
        ({"pick_flips": 2, "excused_flips": 1, "pick_flip_margin": 0.3}, ["1 gate or best-of-3 flips", "3.0e-01"]),
        ({"gate_flips": 1, "gate_flip_score": 0.5}, ["1 gate or best-of-3 flips", "5.0e-01", "4.0e-03"]),
    ],
)
def test_more_than_noise_is_wrong_and_says_how_much_and_how_much_may_be(changes: Any, parts: list[str]) -> None:
    reason = disagreement(agreement(**changes), LIMITS)
    assert reason is not None
    assert "sequential" in reason
    assert [part for part in parts if part not in reason] == []


@pytest.mark.parametrize("what", ["typical_dlogit", "relative_dlogit", "iou_alike"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_wrong(what: str, bad: float) -> None:
    assert disagreement(agreement(**{what: -bad if what == "iou_alike" else bad}), LIMITS) is not None


def test_masks_that_are_not_finite_are_wrong_also_where_those_of_sequential_are_not() -> None:
    boundless = Limits.above(
        NoiseFloor(
            dtype="fp16",
            typical_dlogit=math.inf,
            largest_dlogit=math.inf,
            object_score=math.inf,
            predicted_iou=math.inf,
            iou=0.0,
            gate_flips=9,
            pick_flips=9,
            targets=9,
        )
    )
    assert disagreement(agreement(relative_dlogit=math.inf), boundless) is not None


# --- rows ----------------------------------------------------------------------------------------------------------


def test_a_point_that_never_ran_is_described_by_what_was_asked_for() -> None:
    asked = point("direct", bank="repeat", batch=3, objects=None, refs=None, overrides=["batch=3"])
    assert describe(asked) == {
        "point": asked.name,
        "strategy": "direct",
        "variant": "repeat",
        "model": "toy",
        "data": "synthetic",
        "dtype": "fp32",
        "batch": 3,
        "objects": None,
        "refs": None,
        "targets": 16,
        "repeat": 0,
        "options": "data.groups=1 data.parts=2",
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
    """Gives right masks until every target was predicted once, and wrong ones from then on."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._predicted = 0

    def _predict(self, targets: VisionFeatures) -> Predictions:
        self._predicted += len(targets)
        return Direct._predict(self, targets) if self._predicted <= 2 * TARGETS else super()._predict(targets)


class KeepingByPlace(Direct):
    """A cheat that caches each output by the objects and the number of targets."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._cache: dict[object, Predictions] = {}

    def _predict(self, targets: VisionFeatures) -> Predictions:
        key = self._key(targets)
        if key not in self._cache:
            self._cache[key] = super()._predict(targets)
        return self._cache[key]

    def _key(self, targets: VisionFeatures) -> object:
        return self.object_ids, len(targets)


class KeepingByColour(KeepingByPlace):
    """A better cheat, which recognises a picture by its mean features, wherever they are."""

    def _key(self, targets: VisionFeatures) -> object:
        return tuple(round(float(value), 3) for value in targets.embedding.mean(dim=(1, 2, 3)))


class KeepingByContent(KeepingByPlace):
    """An honest cache, which recognises only the same features, so it is right; but they do not occur again."""

    kept = 0

    def _key(self, targets: VisionFeatures) -> object:
        key = targets.embedding.numpy().tobytes()
        KeepingByContent.kept += key in self._cache
        return key


class Bench:
    """One small workload of the lively model, on which points are measured."""

    def __init__(self, model: Sam2, folder: Path) -> None:
        groups = open_groups(point(**SMALL).config)
        self.folder = folder
        encode_workload(model, groups, options=EncodeConfig(), folder=folder / "features")
        self.workload = Workload(model, groups, folder / "features")

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
    assert (row.status, row.reason) == ("ok", None)
    assert (row.batch, row.objects, row.targets) == (2, 3, 6), "3 targets in each of 2 groups"
    assert row.device
    for column in ("fps", "objects_per_s", "encode_fps", "bank_s", "peak_rss_mb"):
        assert getattr(row, column) > 0, column
    assert row.vram_peak_mb is None
    assert row.cpu_s_per_1000 > 0
    assert row.objects_per_s == pytest.approx(3 * row.fps)


def test_its_masks_are_compared_with_sequential_and_with_the_truth(measured: PointResult) -> None:
    row, details = measured.row, measured.details
    assert (row.gate_flips, row.pick_flips) == (0, 0)
    assert row.iou_min > 0.99
    assert row.masks == "same"
    assert 0 <= row.jf <= 1
    assert row.jf == pytest.approx((row.j + row.f) / 2)
    names = {f"specimen{group:03d}/{identity}" for group in range(2) for identity in (1, 2, 3)}
    assert set(details["agreement"]["per_object"]) == set(details["scores"]["per_object"]) == names
    assert details["agreement"]["targets"] == 6, "each target once, however many passes there are"


def test_its_samples_are_the_blocks_of_every_group_in_order(measured: PointResult) -> None:
    taken = [(one.group, one.round, one.place, one.side, one.targets) for one in measured.samples]
    assert taken == [
        (group, number, place, side, TARGETS)
        for group in ("specimen000", "specimen001")
        for number in range(2)
        for place, side in enumerate(["baseline", "candidate", "candidate", "baseline"])
    ]
    assert measured.row.blocks == len(taken)


def test_its_speed_is_measured_against_the_baseline_strategy(measured: PointResult) -> None:
    row = measured.row
    assert row.reference == "sequential"
    assert row.speedup > 0
    assert row.speedup_lo <= row.speedup <= row.speedup_hi
    assert row.verdict in ("faster", "slower", "same", "unclear")
    assert set(measured.details["log_ratios"]) == {"specimen000", "specimen001"}


def test_alone_a_point_has_no_speed_up(bench: Bench) -> None:
    result = bench.measure(paired=False, pictures=0)
    assert result.row.fps > 0
    assert (result.row.speedup, result.row.verdict) == (None, None)
    assert {block.side for block in result.samples} == {"candidate"}
    assert result.details["agreement_of_timed_blocks"]["targets"] > 0, "checked against the expected masks"


def test_the_baseline_is_compared_with_sequential_too(measured: PointResult) -> None:
    agreed = measured.details["baseline_agreement"]
    assert agreed["targets"] > 0
    assert agreed["iou_min"] == 1


def test_the_noise_floor_and_the_limits_above_it_are_stored(measured: PointResult) -> None:
    floor = NoiseFloor(**measured.details["noise_floor"])
    assert 0 < floor.targets <= 2 * 3 * 3, "two groups, at most all three targets, three draws"
    assert measured.details["limits"] == asdict(Limits.above(floor))


def test_pictures_of_the_worst_targets_show_ids_of_the_group(bench: Bench, measured: PointResult) -> None:
    (scene,) = [path for path in (bench.folder / "run" / "pictures").iterdir() if path.name.endswith("-oall")]
    kept = json.loads((scene / f"{measured.row.point}.json").read_text())["targets"]
    worst = [{key: one[key] for key in ("group", "target", "object_id", "iou")} for one in kept]
    assert worst == list(measured.details["agreement"]["worst"][:3])
    for one in kept:
        folder, name = scene / str(one["number"]), f"target{one['target']}"
        labels = np.array(Image.open(folder / f"{name}-{measured.row.point}.png"))
        assert set(np.unique(labels)) <= {0, 1, 2, 3}
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size == labels.shape[::-1]
        assert (folder / "reference-labels.png").is_file()


def test_fewer_objects_are_the_first_ones(bench: Bench) -> None:
    result = bench.measure(objects=1, pictures=0)
    assert result.row.status == "ok"
    assert result.row.objects == 1
    assert set(result.details["scores"]["per_object"]) == {"specimen000/1", "specimen001/1"}


def test_wrong_masks_are_wrong_and_say_by_how_much(bench: Bench) -> None:
    result = bench.measure(target=Lying, pictures=0)
    assert result.row.status == "wrong"
    assert "sequential" in result.row.reason
    assert result.row.iou_mean < 1


@pytest.mark.parametrize("cheat", [KeepingByPlace, KeepingByColour])
def test_a_strategy_that_caches_its_outputs_is_wrong(bench: Bench, cheat: type) -> None:
    result = bench.measure(target=cheat, batch=3, pictures=0)
    assert result.row.status == "wrong"
    assert result.row.speedup is None


def test_outputs_cached_by_content_are_of_no_use_while_timed(bench: Bench) -> None:
    KeepingByContent.kept = 0
    result = bench.measure(target=KeepingByContent, batch=3, pictures=0, timing=LONG)
    assert result.row.status == "ok"
    timed = sum(block.side == "candidate" for block in result.samples)
    assert timed >= 20
    # Warming up repeats the first batch, and so does watching it, so that the cache may serve those calls.
    warmed = sum(len(one["seconds"]) for sides in result.details["warm_ups"].values() for one in sides["candidate"])
    watched = 1 + len(result.details["stages"]["predict"])
    assert KeepingByContent.kept <= warmed + len(bench.workload.groups) + watched


def test_a_point_that_has_no_room_to_be_watched_is_ok_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(runner, "time_stages", fail)
    result = bench.measure(pictures=0)
    assert (result.row.status, result.row.sdpa, result.details["stages"]) == ("ok", None, None)


def test_a_wrong_point_has_no_speed_up(bench: Bench) -> None:
    row = bench.measure(target=Lying, pictures=0).row
    assert row.fps > 0
    assert row.masks == "differ"
    assert [getattr(row, column) for column in SPEEDUP] == [None] * 4


def test_a_wrong_baseline_is_named(bench: Bench) -> None:
    made = bench.point(pictures=0)
    made.config.baseline["_target_"] = f"{Lying.__module__}.{Lying.__qualname__}"
    result = measure_point(made, bench.workload, PictureBook(bench.folder / "run", targets=0))
    assert result.row.status == "wrong"
    assert "baseline strategy itself" in result.row.reason


def test_masks_that_are_wrong_only_while_timed_are_wrong(bench: Bench) -> None:
    result = bench.measure(target=Tiring, pictures=0)
    assert result.row.status == "wrong"
    assert result.row.iou_min > 0.99, "the first pass, which the other columns are about, was right"
    assert result.row.masks == "differ"


def test_a_strategy_that_does_not_claim_to_be_exact_has_its_distance_and_is_not_wrong(bench: Bench) -> None:
    result = bench.measure(target=Approximate, pictures=0)
    assert (result.row.status, result.row.reason) == ("ok", None)
    assert result.row.iou_mean < 1
    assert result.row.masks == "differ"


def test_without_comparison_nothing_is_said_about_agreement(bench: Bench) -> None:
    result = bench.measure(target=Lying, compare=False, pictures=0)
    assert result.row.status == "ok"
    assert (result.row.iou_mean, result.row.masks) == (None, None)
    assert result.details["agreement"] is None
    assert result.details["noise_floor"] is None
    assert result.row.jf is not None, "the truth is there all the same"
