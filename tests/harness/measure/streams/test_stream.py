"""The scenario ``stream``: videos frame by frame, against the session of transformers on the same frames."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from harness.data.sources import open_groups
from harness.measure.processes import together
from harness.measure.streams.check import run_freely
from harness.measure.streams.courses import EncodedVideo, follow
from harness.measure.streams.latency import Latency
from harness.measure.streams.point import measure_stream, time_stream_again
from harness.measure.streams.scenario import StreamWork
from harness.options.compose import compose
from harness.options.config import EncodeConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.workload.encode import EncodedGroup, Workload, encode_workload
from strategies import Predictions, Sam2, UserError, load_model
from strategies.streams.batched import StreamBatched
from tests.support import wrong_streams
from tests.support.pictures import assert_one_sentence

SMALL = (
    *("scenario=stream", "strategy=stream_batched", "data=drifting", "videos=2"),
    *(
        "data.groups=2",
        "data.frames=9",
        "data.parts=2",
        "data.late=0",
        "data.vary=0.2",
        "data.height=64",
        "data.width=64",
    ),
    *("timing.min_seconds=0", "timing.max_seconds=0", "timing.min_rounds=1", "timing.warmup_seconds=0"),
    *("timing.block_seconds=0",),
)
LATE = ("data.groups=1", "data.frames=12", "data.late=1", "videos=1")


def composed(*words: str) -> Point:
    given = {word.partition("=")[0] for word in words}
    (point,) = compose([*(word for word in SMALL if word.partition("=")[0] not in given), *words])
    return point


class Bench:
    """One small workload of two videos, on which points are measured."""

    def __init__(self, model: Sam2, folder: Path, *words: str) -> None:
        """words: options of every point that is measured here."""
        self._words = words
        groups = open_groups(composed(*words).config)
        encode_workload(model, groups, options=EncodeConfig(), folder=folder)
        self.workload = Workload(model, groups, folder)

    def measure(self, *words: str, target: type | None = None, again: bool = False) -> PointResult:
        point = composed(*self._words, *words)
        if target is not None:
            point.config.strategy["_target_"] = f"{target.__module__}.{target.__qualname__}"
        return (time_stream_again if again else measure_stream)(point, self.workload)

    @property
    def videos(self) -> list[EncodedVideo]:
        return [EncodedVideo.of(encoded, None) for encoded in self.workload.groups]


@pytest.fixture(scope="module")
def toy() -> Sam2:
    """The toy as it ships, which can follow specimens."""
    loaded = load_model("toy")
    assert isinstance(loaded, Sam2)
    return loaded


@pytest.fixture(scope="module")
def bench(toy: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(toy, tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def small_bench(toy: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A workload of one of the videos."""
    return Bench(toy, tmp_path_factory.mktemp("small"), "data.groups=1", "videos=1")


@pytest.fixture(scope="module")
def batched(bench: Bench) -> PointResult:
    return bench.measure()


@pytest.mark.slow
def test_a_point_has_what_a_stream_is_measured_by(batched: PointResult) -> None:
    row = batched.row
    assert (row.status, row.reason, row.masks, row.scenario, row.batch) == ("ok", None, "same", "stream", 2)
    for name in ("fps", "objects_per_s", "speedup", "realtime", "pair_mb", "step_jitter_ms", "jf", "floor_iou"):
        assert getattr(row, name) > 0, name
    assert row.step_p50_ms <= row.step_p95_ms <= row.step_p99_ms
    assert row.reference == "stream_session"
    assert row.forced_iou_min is not None
    assert row.forced_iou_min > 0.99
    assert row.realtime == pytest.approx(row.fps / 2 / 30)


@pytest.mark.slow
def test_what_a_camera_gives_is_an_option(small_bench: Bench) -> None:
    row = small_bench.measure("camera_fps=10", "compare=false", "paired=false").row
    assert row.realtime == pytest.approx(row.fps / 10)
    assert (row.masks, row.speedup, row.iou_mean, row.floor_iou) == (None, None, None, None)
    assert row.jf is not None, "truth needs no comparison"


@pytest.mark.slow
def test_drift_is_kept_by_the_frames_place(batched: PointResult) -> None:
    found = batched.details["stream"]["drift"]
    assert found["frame"] == sorted(found["frame"])
    assert found["frame"][-1] == 8
    for name in ("oracle", "truth", "floor"):
        values = [value for value in found[name] if value is not None]
        assert values
        assert all(0 <= value <= 1 for value in values), name


@pytest.mark.slow
def test_a_video_whose_objects_vanish_at_the_models_resolution_is_refused(bench: Bench) -> None:
    encoded = bench.workload.groups[0]
    whole = encoded.references(torch.device("cpu"))
    gone = replace(whole, masks=torch.zeros_like(whole.masks))
    with patch.object(EncodedGroup, "references", return_value=gone), pytest.raises(UserError) as error:
        EncodedVideo.of(encoded, None)
    assert_one_sentence(error.value, f"no reference of video {encoded.group.name} shows", "128 px")


@pytest.mark.slow
def test_the_session_is_the_session(small_bench: Bench) -> None:
    row = small_bench.measure("strategy=stream_session", "paired=false").row
    assert (row.status, row.masks, row.iou_min, row.forced_iou_min, row.max_abs_dlogit) == ("ok", "same", 1, 1, 0)


@pytest.mark.slow
def test_fewer_slots_than_videos_take_one_video_after_another(bench: Bench, batched: PointResult) -> None:
    row = bench.measure("videos=1", "paired=false").row
    assert (row.status, row.masks, row.batch) == ("ok", "same", 1)
    assert row.jf == pytest.approx(batched.row.jf, abs=1e-3)


@pytest.mark.slow
def test_another_memory_is_no_exact_strategy_and_is_scored(small_bench: Bench) -> None:
    row = small_bench.measure("memory_frames=2", "paired=false").row
    assert row.status == "ok"
    assert row.forced_iou_min is None
    assert row.iou_mean is not None
    assert row.jf is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "words"),
    [
        (wrong_streams.Swapping, "stream_session"),
        (wrong_streams.Forgetting, "stream_session"),
        (wrong_streams.Silent, "predictions do not answer what stream_session was asked"),
        (wrong_streams.Cached, "in the timed blocks"),
        (wrong_streams.Scribbling, "changes the frames' features"),
        (wrong_streams.Pointerless, "of a free run differ from stream_session"),
        (wrong_streams.PointerlessWhenTimed, "in the timed blocks"),
        (wrong_streams.SilentInexact, "predictions do not answer what stream_session was asked"),
        (wrong_streams.Chatty, "predictions do not answer what stream_session was asked"),
    ],
)
def test_a_wrong_strategy_is_wrong_and_has_no_speed_up(
    bench: Bench, small_bench: Bench, target: type, words: str
) -> None:
    # Only the baseline's masks of the same turn show that an answer was kept, or that masks are others while timed.
    paired = target in (wrong_streams.Cached, wrong_streams.PointerlessWhenTimed)
    shows = bench if issubclass(target, wrong_streams.Silent) else small_bench
    row = shows.measure(f"paired={str(paired).lower()}", target=target).row
    assert row.status == "wrong"
    assert row.reason is not None
    assert words in row.reason
    assert row.speedup is None


@pytest.mark.slow
def test_one_that_becomes_wrong_late_in_a_video_is_wrong(toy: Sam2, tmp_path: Path) -> None:
    long = ("data.groups=1", "data.frames=18", "videos=1", "paired=false")
    row = Bench(toy, tmp_path, *long).measure(target=wrong_streams.Wearying).row
    assert row.status == "wrong"
    assert row.iou_mean is not None
    assert row.iou_mean > 0.995, "its outlines alone would not tell"


@pytest.mark.slow
def test_one_that_does_not_call_itself_exact_is_not_wrong(small_bench: Bench) -> None:
    row = small_bench.measure("paired=false", target=wrong_streams.Inexact).row
    assert (row.status, row.masks) == ("ok", "differ")
    assert row.iou_mean is not None
    assert row.iou_mean < 0.9


@pytest.mark.slow
def test_another_process_times_the_same_and_judges_its_blocks(small_bench: Bench) -> None:
    row = small_bench.measure(again=True, target=wrong_streams.Swapping).row
    assert row.status == "wrong"
    assert row.fps is not None
    assert row.speedup is None


@pytest.mark.slow
def test_processes_of_a_point_are_put_together(bench: Bench, batched: PointResult) -> None:
    point = composed("timing.processes=2")
    row = together(point, {0: batched, 1: bench.measure(again=True)}).row
    assert (row.status, row.processes, row.step_p50_ms) == ("ok", 2, batched.row.step_p50_ms)
    assert row.fps is not None
    assert row.realtime == pytest.approx(row.fps / 2 / 30)


def test_of_a_free_run_only_the_last_masks_are_in_memory(bench: Bench, toy: Sam2) -> None:
    """So a long video's masks do not count as the strategy's memory; they are on disk, of the same bits."""
    alive, made, most = [], [], 0

    class Noting(StreamBatched):
        def _step(self, *given: Any) -> dict[str, Predictions]:
            nonlocal most
            most = max(most, sum(one() is not None for one in alive))
            found = super()._step(*given)
            alive.extend(weakref.ref(one.logits) for one in found.values())
            made.append({video: one.logits.clone() for video, one in found.items()})
            return found

    found = run_freely(Noting(toy), bench.videos, at_once=2, folder=bench.workload.folder)
    assert most <= 2 * len(bench.videos) < len(alive)
    for (_, step), logits in zip(found.steps, made, strict=True):
        assert {video: one.logits.tolist() for video, one in step.items()} == {
            video: values.tolist() for video, values in logits.items()
        }


def test_turns_show_the_same_videos_elsewhere(bench: Bench) -> None:
    (video, _) = bench.videos
    here, there = (video.course(torch.device("cpu"), moves=moves) for moves in (0, 1))
    assert len(here.frames) == len(there.frames)
    one, other = here.frames[0].features.embedding, there.frames[0].features.embedding
    assert torch.equal(one.roll(1, dims=-1), other)
    labels, moved = here.references.labels[0].masks, there.references.labels[0].masks
    stride = labels.shape[-1] // one.shape[-1]
    assert torch.equal(labels.roll(stride, dims=-1), moved)


def test_the_stretch_of_a_turn_is_freed_once_its_masks_are_checked(bench: Bench, toy: Sam2) -> None:
    work = StreamWork(composed().config, bench.videos, strategies={"candidate": StreamBatched(toy)})
    block = work.block(seconds_per_call=0.0, paired=False)
    left = weakref.ref(block.inputs(1))
    assert left() is not None, "until then it is kept"
    block.check(1, None, [])
    assert left() is None


def test_pairs_are_of_objects_that_were_labelled_before(toy: Sam2, tmp_path: Path) -> None:
    video = Bench(toy, tmp_path, *LATE).videos[0]
    course = video.course(torch.device("cpu"))
    # One object from frame 1 on, but on frame 8, which labels the second one, only the first is predicted.
    assert [label.frame for label in course.references.labels] == [0, 8]
    assert course.pairs == (len(course.frames) - 1) + (len(course.frames) - 9)


def test_a_video_begins_where_an_object_is_labelled_that_is_followed(toy: Sam2, tmp_path: Path) -> None:
    (encoded,) = Bench(toy, tmp_path, *LATE).workload.groups
    references = encoded.references(torch.device("cpu"))
    with patch.object(
        EncodedGroup,
        "references",
        lambda *_: replace(references, masks=references.masks[:, 1:], object_ids=references.object_ids[1:]),
    ):
        video = EncodedVideo.of(encoded, 1)
    assert (video.first, video.frames[-1][0], video.objects) == (8, 11, (2,))
    course = video.course(torch.device("cpu"), most=2)
    assert (course.references.first_frame, course.references.labels[0].frame, course.pairs) == (8, 8, 1)


def test_a_video_that_ends_makes_room_for_the_next(bench: Bench, toy: Sam2) -> None:
    courses = [video.course(torch.device("cpu"), most=most) for video, most in zip(bench.videos, (2, 3), strict=True)]
    with StreamBatched(toy, videos=1) as strategy:
        steps = [numbers for numbers, _ in follow(strategy, courses, videos=1)]
    first, second = (course.video for course in courses)
    assert steps == [{first: 0}, {first: 1}, {second: 0}, {second: 1}, {second: 2}]


def test_latency_is_told_by_percentiles_and_by_how_much_neighbours_differ() -> None:
    found: dict[str, Any] = Latency(seconds=[0.010] * 98 + [0.020, 0.030]).columns()
    assert found["step_p50_ms"] == pytest.approx(10)
    assert found["step_p95_ms"] == pytest.approx(10)
    assert 20 < found["step_p99_ms"] < 30
    assert found["step_jitter_ms"] == pytest.approx(20 / 99)
    assert "step_jitter_ms" not in Latency(seconds=[0.010]).columns()
