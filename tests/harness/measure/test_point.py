"""One point measured: what its row says, and when masks count as wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.sources import open_groups
from harness.masks.noise import PAIRS
from harness.masks.pictures import PictureBook
from harness.masks.rule import Limits, NoiseFloor
from harness.measure import correctness
from harness.measure import point as runner
from harness.measure.columns import describe
from harness.measure.point import measure_point
from harness.observe.memory import PeakMemory
from harness.options.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import SPEEDUP
from harness.workload.encode import Workload, encode_workload
from strategies import Sam2
from strategies.planted_faults.calls import (
    AnswersOverwritten,
    FeaturesSpoiled,
    KnownByAddress,
    LargeBatchesScaled,
    ReferencesSpoiled,
)
from strategies.planted_faults.predictions import ObjectMissing, OrderReversed
from tests.support.harness_runs import point
from tests.support.wrong_strategies import (
    TARGETS,
    Approximate,
    KeepingByColour,
    KeepingByContent,
    KeepingByPlace,
    Lying,
    Noting,
    PuttingOff,
    Tiring,
)

SMALL: dict[str, Any] = {
    "data": SyntheticConfig(name="synthetic", groups=2, parts=3, height=64, width=96, absent=0),
    "targets": TARGETS,
    "refs": 1,
    "timing": TimingConfig(groups=4, min_seconds=0, min_rounds=1, max_seconds=0, warmup_seconds=0, block_seconds=0),
}


LONG = TimingConfig(
    groups=4, min_seconds=0, min_rounds=10, max_seconds=60, width=1e9, warmup_seconds=0, block_seconds=60
)


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
        "scenario": "predict",
        "batch": 3,
        "objects": None,
        "refs": None,
        "targets": 16,
        "repeat": 0,
        "options": "data.groups=1 data.parts=2",
        "command": "python -m harness batch=3",
    }


class Bench:
    """One small workload of the lively model, on which points are measured."""

    def __init__(self, model: Sam2, folder: Path) -> None:
        groups = open_groups(point(**SMALL).config)
        self.folder = folder
        encode_workload(model, groups, options=EncodeConfig(), folder=folder / "features")
        self.workload = Workload(model, groups, folder / "features")
        self.first_group = Workload(model, groups[:1], folder / "features")

    def measure(self, strategy: str = "direct", *, target: type | None = None, **options: Any) -> PointResult:
        measured = self.point(strategy, target=target, **options)
        pictures = PictureBook(self.folder / "run", targets=measured.config.pictures)
        return measure_point(measured, self.workload, pictures)

    def quickly(self, *, target: type | None = None, **options: Any) -> PointResult:
        """Measure a point of one group alone, where neither a second group nor the baseline strategy is asked about."""
        asked = self.point(target=target, pictures=0, **({"paired": False} | options))
        return measure_point(asked, self.first_group, PictureBook(self.folder / "run", targets=0))

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
    """Two groups, of which a block has all targets: a batch and one that is not full."""
    return bench.measure(batch=2, timing=replace(SMALL["timing"], block_seconds=60))


@pytest.mark.slow
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


def test_what_others_took_of_the_processors_meanwhile_is_told(measured: PointResult) -> None:
    contention, row = measured.details["contention"], measured.row
    assert contention["own_s"] > 0
    assert (contention["others"], contention["disturbed"]) == (row.cpu_others, row.disturbed)


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


def test_the_noise_floor_and_the_limits_above_it_are_told(measured: PointResult) -> None:
    floor = NoiseFloor.from_json(measured.details["noise_floor"])
    once = 2 * 3 * 3 * 2  # two groups, all three targets of three objects, two draws
    assert PAIRS <= floor.pairs <= 2 * once, "drawn again where few targets show an object"
    assert measured.details["limits"] == asdict(Limits.above(floor))


def test_what_agreement_is_worth_is_told(measured: PointResult) -> None:
    details = measured.details
    assert 0 < details["worth"]["open_gates"] <= 1
    assert 1 / 3 <= details["worth"]["commonest_pick"] <= 1
    assert 0 <= details["share_of_limits"] <= 1
    calls = 2 * 2 + 2 * 2 * 2 * 2
    assert measured.row.checked_calls == calls, "two batches of each group, once and in two turns of two rounds"
    assert details["rarest_fault"] == pytest.approx(1 - 0.05 ** (1 / calls))


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


@pytest.mark.slow
def test_fewer_objects_are_the_first_ones(bench: Bench) -> None:
    result = bench.measure(objects=1, pictures=0)
    assert result.row.status == "ok"
    assert result.row.objects == 1
    assert set(result.details["scores"]["per_object"]) == {"specimen000/1", "specimen001/1"}


@pytest.mark.slow
def test_wrong_masks_are_wrong_say_by_how_much_and_have_no_speed_up(bench: Bench) -> None:
    row = bench.quickly(target=Lying, paired=True).row
    assert row.status == "wrong"
    assert row.reason is not None
    assert "sequential" in row.reason
    assert row.iou_mean is not None
    assert row.iou_mean < 1
    assert row.fps is not None
    assert row.fps > 0
    assert row.masks == "differ"
    assert [getattr(row, column) for column in SPEEDUP] == [None] * 4


@pytest.mark.slow
def test_a_cheaper_memory_is_not_exact_and_has_agreement_and_truth_beside_its_speed(bench: Bench) -> None:
    made = bench.point(pictures=0)
    made.config.strategy["memory"] = "topk_tokens:8"
    row = measure_point(made, bench.first_group, PictureBook(bench.folder / "run", targets=0)).row
    assert (row.status, row.reason, row.masks) == ("ok", None, "differ")
    assert row.iou_mean < 1
    assert row.speedup > 0
    assert 0 < row.jf < 1


@pytest.mark.slow
@pytest.mark.parametrize("cheat", [KeepingByPlace, KeepingByColour])
def test_a_strategy_that_caches_its_outputs_is_wrong(bench: Bench, cheat: type) -> None:
    result = bench.quickly(target=cheat, batch=3, paired=True)
    assert result.row.status == "wrong"
    assert result.row.speedup is None


@pytest.mark.slow
def test_outputs_cached_by_content_are_of_no_use_while_timed(bench: Bench) -> None:
    KeepingByContent.kept = 0
    result = bench.quickly(target=KeepingByContent, batch=3, paired=True, timing=LONG)
    assert result.row.status == "ok"
    timed = sum(block.side == "candidate" for block in result.samples)
    assert timed >= 20
    # Warming up repeats the first batch, as checking the masks and watching it do, so the cache may serve those calls.
    warmed = sum(len(one["seconds"]) for sides in result.details["warm_ups"].values() for one in sides["candidate"])
    watched = 1 + len(result.details["stages"]["predict"])
    assert KeepingByContent.kept <= 1 + warmed + 1 + watched


@pytest.mark.slow
def test_a_point_that_has_no_room_to_be_watched_is_ok_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(runner, "time_stages", fail)
    result = bench.quickly()
    assert (result.row.status, result.row.sdpa, result.details["stages"]) == ("ok", None, None)


@pytest.mark.slow
def test_a_wrong_baseline_is_named(bench: Bench) -> None:
    made = bench.point(pictures=0)
    made.config.baseline["_target_"] = f"{Lying.__module__}.{Lying.__qualname__}"
    result = measure_point(made, bench.first_group, PictureBook(bench.folder / "run", targets=0))
    assert result.row.status == "wrong"
    assert "baseline strategy itself" in result.row.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OrderReversed, "objects [3, 2, 1], not of [1, 2, 3]"),
        (ObjectMissing, "objects [1, 2], not of [1, 2, 3]"),
        (AnswersOverwritten, "changes an answer that it has given"),
        (LargeBatchesScaled, "logits"),
        (FeaturesSpoiled, "changes its inputs, which are not its own: the targets' features"),
        (ReferencesSpoiled, "changes its inputs, which are not its own: the references' masks"),
    ],
)
def test_what_is_wrong_is_named_and_no_crash(bench: Bench, fault: type, told: str) -> None:
    row = bench.quickly(target=fault).row
    assert row.status == "wrong"
    assert row.reason is not None
    assert told in row.reason


@pytest.mark.slow
def test_targets_lie_where_others_were_before(bench: Bench) -> None:
    assert bench.quickly(target=KnownByAddress, batch=1, paired=True).row.status == "wrong"


def test_predictions_of_another_kind_are_refused(bench: Bench) -> None:
    with pytest.raises(TypeError, match="PuttingOff predicted Lazy, and not Predictions itself"):
        bench.quickly(target=PuttingOff, compare=False)


@pytest.mark.slow
def test_masks_that_are_wrong_only_while_timed_are_wrong(bench: Bench) -> None:
    result = bench.measure(target=Tiring, pictures=0)
    assert result.row.status == "wrong"
    assert result.row.iou_min > 0.99, "the first pass, which the other columns are about, was right"
    assert result.row.masks == "differ"


def test_what_a_first_prediction_compiles_and_tunes_is_in_no_memory_peak(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    class NotingPeaks(PeakMemory):
        def __init__(self, device: torch.device) -> None:
            noted.append("reset")
            super().__init__(device)

    monkeypatch.setattr(correctness, "PeakMemory", NotingPeaks)
    monkeypatch.setattr(Noting, "noted", noted, raising=False)
    bench.measure(target=Noting, paired=False, compare=False, pictures=0)
    assert noted[:4] == ["prepare", "predict", "predict", "reset"]
    second = noted.index("reset", 4)
    assert noted[second - 1] == "predict", "groups of the same shape need no second warm-up"


@pytest.mark.slow
def test_a_strategy_that_does_not_claim_to_be_exact_has_its_distance_and_is_not_wrong(bench: Bench) -> None:
    result = bench.quickly(target=Approximate)
    assert (result.row.status, result.row.reason) == ("ok", None)
    assert result.row.iou_mean < 1
    assert result.row.masks == "differ"


@pytest.mark.slow
def test_without_comparison_nothing_is_said_about_agreement(bench: Bench) -> None:
    result = bench.quickly(target=Lying, compare=False)
    assert result.row.status == "ok"
    assert (result.row.iou_mean, result.row.masks) == (None, None)
    assert result.details["agreement"] is None
    assert result.details["noise_floor"] is None
    assert result.row.jf is not None, "the truth is there all the same"
