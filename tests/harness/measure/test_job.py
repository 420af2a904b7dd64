"""The scenario ``job``: from pictures on disk to masks on disk, by the pipeline and by a loop, on the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.group import Group
from harness.data.images import read_image, read_labels
from harness.data.sources import open_groups
from harness.data.synthetic import synthetic_groups
from harness.job.run import label
from harness.masks.mean_iou import LEAST_LOSS, TIMES, mean_iou_limit
from harness.masks.pictures import PictureBook
from harness.measure.again import time_again
from harness.measure.correctness import Meters
from harness.measure.job import BLOCK_TARGETS, PASSES, Job
from harness.measure.job_masks import filed, pair_ious
from harness.measure.point import measure_point
from harness.options.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.options.data import FolderConfig
from harness.pipeline.meter import AROUND, NETWORK
from harness.result import PointResult
from harness.store.point_key import key_of
from harness.workload.encode import Workload, encode_workload
from strategies import Direct, Sam2, Sequential, load_model
from tests.support.harness_runs import complaint, point, run_here
from tests.support.jobs import draw
from tests.support.wrong_strategies import WrongInJobs

SMALL: dict[str, Any] = {
    "scenario": "job",
    "data": SyntheticConfig(name="synthetic", groups=1, parts=2, height=64, width=96, absent=0),
    "targets": 5,
    "refs": 1,
    "batch": 2,
    "pictures": 0,
    "timing": TimingConfig(min_seconds=0, min_rounds=2, max_seconds=0, warmup_seconds=0, block_seconds=0),
}


class Bench:
    """One small workload, on which jobs are measured."""

    def __init__(self, model: Sam2, folder: Path) -> None:
        groups = open_groups(point(**SMALL).config)
        self.folder = folder
        encode_workload(model, groups, options=EncodeConfig(), folder=folder / "features")
        self.workload = Workload(model, groups, folder / "features")

    def measure(self, *, target: type | None = None, **options: Any) -> PointResult:
        made = point("direct", **(SMALL | options))
        if target is not None:
            made.config.strategy["_target_"] = f"{target.__module__}.{target.__qualname__}"
        return measure_point(made, self.workload, PictureBook(self.folder / "run", targets=0))

    def job(self, candidate: Direct) -> Job:
        config = point("direct", **SMALL).config
        baseline = Sequential(candidate.model)
        return Job(config, self.workload, candidate=candidate, baseline=baseline, expected=None, meters=Meters())


@pytest.fixture(scope="module")
def bench(model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(model, tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def measured(bench: Bench) -> PointResult:
    return bench.measure()


@pytest.mark.slow
def test_a_job_has_a_speed_and_a_speed_up_over_the_loop(measured: PointResult) -> None:
    row = measured.row
    assert (row.status, row.reason, row.scenario) == ("ok", None, "job")
    assert row.fps > 0
    assert row.speedup > 0
    assert row.reference == "sequential"
    assert {block.targets for block in measured.samples} == {5}, "a block is all of a small group"


@pytest.mark.slow
def test_it_tells_how_busy_its_stages_are(measured: PointResult) -> None:
    row = measured.row
    for name in (*NETWORK, *AROUND):
        assert 0 < getattr(row, f"{name}_busy") <= 1, name
    assert row.bottleneck in (*NETWORK, *AROUND)
    assert row.overlap > 0
    assert row.job_cpu_ratio > 0
    alone = measured.details["job"]["seconds_alone"]
    assert set(alone) == {*NETWORK, *AROUND}
    assert row.overlap == pytest.approx(max(alone.values()) * _pipeline_rate(measured))


def _pipeline_rate(measured: PointResult) -> float:
    of_pipeline = [block for block in measured.samples if block.side == "candidate"]
    return sum(block.targets for block in of_pipeline) / sum(block.seconds for block in of_pipeline)


@pytest.mark.slow
def test_the_two_sides_masks_are_compared_at_the_pictures_size(measured: PointResult) -> None:
    assert measured.row.masks == "same"
    assert measured.row.job_iou_mean >= 1 - LEAST_LOSS
    assert 0 < measured.row.job_iou_min <= measured.row.job_iou_mean


@pytest.mark.slow
def test_a_projection_is_of_the_whole_job_and_a_rate_of_arithmetic_is_not_claimed(measured: PointResult) -> None:
    row = measured.row
    assert row.projected_min == pytest.approx(29066 / row.fps / 60)
    assert row.gflop_per_target > 0
    assert (row.gflop_per_s, row.matrix_share) == (None, None)


@pytest.mark.slow
def test_alone_its_masks_are_compared_with_those_of_the_session(bench: Bench) -> None:
    row = bench.measure(paired=False).row
    assert (row.status, row.speedup) == ("ok", None)
    assert row.job_iou_mean >= 1 - LEAST_LOSS


@pytest.mark.slow
def test_a_strategy_that_is_wrong_in_the_job_alone_is_wrong(bench: Bench) -> None:
    row = bench.measure(target=WrongInJobs).row
    assert row.iou_min > 0.9, "it was right when its masks were checked"
    assert row.status == "wrong"
    assert "the job's masks" in row.reason
    assert row.speedup is None


@pytest.mark.slow
def test_in_a_further_process_masks_are_compared_too(bench: Bench) -> None:
    made = point("direct", **SMALL)
    made.config.strategy["_target_"] = f"{WrongFromTheStart.__module__}.{WrongFromTheStart.__qualname__}"
    again = time_again(made, bench.workload)
    assert again.row.status == "wrong"
    assert "the job's masks" in again.row.reason
    right = time_again(point("direct", **SMALL), bench.workload)
    assert (right.row.status, right.row.job_iou_min > 0.9) == ("ok", True)


class WrongFromTheStart(Direct):
    """Gives the masks of the wrong side of every border."""

    def _predict(self, targets: Any) -> Any:
        found = super()._predict(targets)
        found.logits.neg_()
        return found


@pytest.mark.slow
def test_a_target_that_is_lost_now_and_then_is_told(bench: Bench, model: Sam2) -> None:
    job = bench.job(Direct(model))
    (group,) = job.timed_groups()
    fine = [1.0] * 1000
    group.ious, group.worst, group.floor = fine, dict.fromkeys((("a", one) for one in range(1000)), 1.0), fine
    assert job._disagreement(fine) is None
    group.worst[("b", 1)] = 0.0
    assert "are not those of the loop" in str(job._disagreement([*fine, 0.0]))


@pytest.mark.slow
def test_masks_that_depend_on_how_the_stages_run_are_told(bench: Bench, model: Sam2) -> None:
    candidate = TurnedLater(model)
    (group,) = bench.job(candidate).timed_groups()
    candidate.left = PASSES  # The stages alone come first, and then the pipeline.
    _, fault = group.alone()
    assert fault is not None
    assert "is not that of its stages in turn" in fault


class TurnedLater(Direct):
    """Gives other masks once it was prepared as often as it is told."""

    left = 100

    def _prepare(self, references: Any) -> None:
        self.left -= 1
        super()._prepare(references)

    def _predict(self, targets: Any) -> Any:
        found = super()._predict(targets)
        if self.left < 0:
            found.logits.neg_()
        return found


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_block_has_as_many_targets_whatever_the_batch_because_each_pays_for_its_references(
    bench: Bench, model: Sam2, seconds: float
) -> None:
    (group,) = bench.job(Direct(model)).timed_groups()
    assert group.block(seconds_per_call=seconds, paired=True).targets == min(5, BLOCK_TARGETS)


def test_each_turn_has_another_order_of_the_same_targets(bench: Bench, model: Sam2) -> None:
    (group,) = bench.job(Direct(model)).timed_groups()
    orders = [[target.name for target in group.turn(number, 5).work.group.targets] for number in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


@pytest.mark.slow
def test_what_is_timed_writes_the_masks_that_label_writes(tmp_path: Path) -> None:
    model = load_model("toy")
    root = draw(tmp_path / "cells", targets=5)
    options = SMALL | {"data": FolderConfig(name="folder", root=str(root)), "refs": None, "targets": None}
    asked = point("direct", **options)
    groups = open_groups(asked.config)
    encode_workload(model, groups, options=EncodeConfig(), folder=tmp_path / "features")
    workload = Workload(model, groups, tmp_path / "features")
    with Direct(model) as candidate:
        job = Job(
            asked.config, workload, candidate=candidate, baseline=None, expected=None, meters=Meters()
        ).timed_groups()[0]
        written = job.sides(paired=False)["candidate"].run(job.turn(0, 5))
    asked.config.label.threads = job.cores.threads
    summary = label(asked)
    for target in written.work.group.targets:
        timed = written.work.mask_of(target)
        assert timed.read_bytes() == (summary.out / written.work.group.name / timed.name).read_bytes()


# --- its files and numbers -----------------------------------------------------------------------------------------


@pytest.fixture
def drawn() -> Group:
    (group,) = synthetic_groups(count=1, references=1, targets=2, objects=2, size=(48, 64), seed=0)
    return group


def test_drawn_pictures_become_files_that_lose_nothing(drawn: Group, tmp_path: Path) -> None:
    stored = filed(drawn, tmp_path)
    for before, after in zip((*drawn.references, *drawn.targets), (*stored.references, *stored.targets), strict=True):
        assert np.array_equal(before.image(), after.image())
        assert np.array_equal(before.image(), read_image(after.picture))
    assert np.array_equal(drawn.references[0].labels(), read_labels(stored.references[0].mask))


def test_targets_lose_their_truth_because_scoring_is_no_part_of_a_job(drawn: Group, tmp_path: Path) -> None:
    assert all(target.labels is not None for target in drawn.targets)
    assert all(target.labels is None for target in filed(drawn, tmp_path).targets)


def test_the_iou_of_an_object_that_is_nowhere_is_one() -> None:
    nothing, one = np.zeros((2, 2), int), np.array([[1, 0], [0, 0]])
    both = np.array([[1, 1], [0, 0]])
    assert pair_ious((1, 2), [(nothing, nothing), (one, both), (one, nothing)]) == [1, 1, 0.5, 1, 0, 1]


def test_the_loops_own_losses_widen_what_is_allowed() -> None:
    assert mean_iou_limit([]) == mean_iou_limit([1.0]) == 1 - LEAST_LOSS
    assert mean_iou_limit([1.0, 0.9]) == pytest.approx(1 - TIMES * 0.05)


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_gate_tells_jobs_and_predictions_apart() -> None:
    assert "scenario" not in key_of(point("direct"))
    assert "scenario=job" in key_of(point("direct", scenario="job"))


def test_what_a_job_does_not_measure_is_refused(tmp_path: Path) -> None:
    done = run_here(tmp_path, "scenario=job", "label.decode=fast")
    assert done.returncode == 2
    assert "label.decode=fast is not measured by scenario=job" in complaint(done.stderr)


def test_a_scenario_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = run_here(tmp_path, "scenario=jb")
    assert done.returncode == 2
    assert complaint(done.stderr) == "scenario=jb is not known; choose one of predict, job, stream"


@pytest.mark.slow
def test_a_sweep_over_both_scenarios_reports_the_job_apart(tmp_path: Path) -> None:
    words = ("strategy=direct", "scenario=predict,job", "data.groups=1", "targets=4", "data.parts=2", "objects=2")
    timing = ("timing.min_seconds=0", "timing.min_rounds=2", "timing.max_seconds=0", "timing.warmup_seconds=0")
    done = run_here(tmp_path, *words, *timing, "batch=2", "pictures=0", "isolation=inline")
    assert done.returncode == 0, done.stderr
    assert "scenario" in done.stdout
    report = (tmp_path / "results" / "latest" / "report.md").read_text(encoding="utf-8")
    assert "## The whole job" in report
    verdict = report.partition("## Verdict")[2].partition("## ")[0]
    assert "from pictures on disk to masks on disk" in verdict
    assert "nobody's job" in report, "pictures are drawn, and the network is the toy"
    assert "is the bottleneck" in report
