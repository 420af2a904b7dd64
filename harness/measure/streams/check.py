"""The masks of a strategy for streams: against the oracle step by step and in a free run, and against the truth.

The free run comes first and alone, so the memory peak is the strategy's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from harness.masks.agreement import AgreementMeter
from harness.masks.rule import ALIKE, Agreement, Limits, disagreement
from harness.masks.scores import frame_scores
from harness.measure.making import make_stream_strategy
from harness.measure.streams.courses import EncodedVideo, Step, follow
from harness.measure.streams.floor import Floors, compare, in_lockstep, pair_ious
from harness.observe.memory import PeakMemory, Peaks
from harness.options.config import HarnessConfig
from harness.options.shipped import OF_STREAMS
from harness.workload.encode import Workload
from strategies.oracle import StreamOracle
from strategies.streams.base import StreamStrategy

ORACLE = OF_STREAMS
FORCED_FRAMES = 24
"""So many frames of each video are compared step by step, so that memory has become full."""
LEAST_LOSS, TIMES = 0.005, 4.0
"""A free run may lose so much mean IoU, or so many times what rounding alone loses."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """J and F of one object in one frame. place: the frame's place in its video, from 0."""

    video: str
    object_id: int
    place: int
    j: float
    f: float


@dataclass(frozen=True, kw_only=True)
class FreeRun:
    """What a strategy predicts when nobody corrects it.

    peaks: its memory. bytes_per_pair: the most that it kept between steps, for each (video, object) that it followed.
    scored: where there is truth. steps: what was predicted, by the step.
    """

    peaks: Peaks
    bytes_per_pair: float | None
    scored: Sequence[Scored] = field(repr=False)
    steps: Sequence[tuple[dict[str, int], Step]] = field(repr=False)

    def of_objects(self) -> dict[str, tuple[float, float]]:
        """Return each object's J and F, means over frames, by "video/id"."""
        by_object = defaultdict(list)
        for one in self.scored:
            by_object[f"{one.video}/{one.object_id}"].append((one.j, one.f))
        return {name: (fmean(j for j, _ in found), fmean(f for _, f in found)) for name, found in by_object.items()}

    def scores(self) -> dict[str, float]:
        """Return ``j``, ``f`` and ``jf``, means over objects; nothing without truth."""
        found = self.of_objects().values()
        if not found:
            return {}
        j, f = fmean(j for j, _ in found), fmean(f for _, f in found)
        return {"j": j, "f": f, "jf": (j + f) / 2}


def run_freely(strategy: StreamStrategy, videos: Sequence[EncodedVideo], *, at_once: int) -> FreeRun:
    """Follow all videos from their first frames to their last, and score the masks where there is truth."""
    device = strategy.model.device
    courses = [video.course(device, lazily=True) for video in videos]
    memory = PeakMemory(device)
    steps: list[tuple[dict[str, int], Step]] = []
    kept: list[float] = []
    for numbers, found in follow(strategy, courses, videos=at_once):
        pairs = sum(len(strategy.objects(video)) for video in strategy.under_way)
        if pairs and len(numbers) == min(at_once, len(videos)):
            kept.append(strategy.state_bytes / pairs)
        steps.append((numbers, {video: one.cpu() for video, one in found.items()}))
    peaks = memory.read()
    strategy.release()
    return FreeRun(peaks=peaks, bytes_per_pair=kept[-1] if kept else None, scored=_scored(videos, steps), steps=steps)


def _scored(videos: Sequence[EncodedVideo], steps: Sequence[tuple[dict[str, int], Step]]) -> list[Scored]:
    by_name = {video.name: video for video in videos}
    found = []
    for numbers, step in steps:
        for name, predictions in step.items():
            video = by_name[name]
            labels = video.truth(numbers[name])
            if labels is None or not predictions.object_ids:
                continue
            predicted = predictions.label_map(0, size=labels.shape[:2]).numpy()
            place = numbers[name] - video.first
            scores = frame_scores(predictions.object_ids, predicted, labels)
            found += [Scored(video=name, object_id=one, place=place, j=j, f=f) for one, (j, f) in scores.items()]
    return found


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How far a strategy is from the oracle.

    free: over the free run. by_place: the same IoU by the frame's place in its video. forced: step by step from the
    oracle's memory; None for a strategy that is not exact, which has another memory. fault: why an exact strategy's
    masks do not count as the oracle's; None where they do. limit: of the free run's mean IoU.
    """

    floors: Floors
    limits: Limits
    free: Agreement | None
    by_place: dict[int, float]
    forced: Agreement | None
    fault: str | None
    limit: float

    @property
    def same(self) -> bool:
        """Whether masks count as the oracle's; of a strategy with another memory, where all are alike in a free run."""
        if self.forced is not None or self.free is None:
            return self.fault is None
        return self.fault is None and self.free.iou_min >= ALIKE


def mean_iou_limit(floors: Floors) -> float:
    """Return the least mean IoU of an exact strategy's free run: a few times what rounding loses."""
    return 1 - max(LEAST_LOSS, TIMES * (1 - floors.trajectory.mean))


def compare_with_oracle(
    config: HarnessConfig, workload: Workload, videos: Sequence[EncodedVideo], found: FreeRun, *, exact: bool
) -> Compared:
    """Compare a free run with the oracle's, and an exact strategy step by step, too."""
    floors = Floors.of(workload, videos, config.objects)
    limits, limit = Limits.above(floors.noise), mean_iou_limit(floors)
    forced = _forced(config, workload, videos) if exact else None
    fault = disagreement(forced, limits, oracle=ORACLE)
    meter, by_place = AgreementMeter(), defaultdict[int, list[float]](list)
    first = {video.name: video.first for video in videos}
    courses = [video.course(workload.model.device, lazily=True) for video in videos]
    with StreamOracle(workload.model) as oracle:
        for (numbers, expected), (_, actual) in zip(
            follow(oracle, courses, videos=config.videos), found.steps, strict=True
        ):
            expected = {video: one.cpu() for video, one in expected.items()}
            compare(meter, expected, actual)
            for video, one in expected.items():
                if video in actual and actual[video].object_ids == one.object_ids:
                    by_place[numbers[video] - first[video]] += pair_ious(one, actual[video])
    free = meter.result()
    if fault is None and free is not None:
        fault = free_fault(free, limit)
    return Compared(
        floors=floors,
        limits=limits,
        free=free,
        by_place={place: fmean(ious) for place, ious in sorted(by_place.items()) if ious},
        forced=forced,
        fault=fault,
        limit=limit,
    )


def free_fault(free: Agreement, limit: float) -> str | None:
    """Say why an exact strategy's free run is not the oracle's; None where it is."""
    if free.misfit is not None:
        return f"predictions do not answer what {ORACLE} was asked: {free.misfit}"
    if free.not_empty:
        return f"{free.not_empty} masks of a closed gate are not empty, with logits of -1024, as those of {ORACLE}"
    if free.iou_mean < limit:
        return f"a free run has a mean IoU of {free.iou_mean:.4f} with that of {ORACLE}, below {limit:.4f}"
    return None


def _forced(config: HarnessConfig, workload: Workload, videos: Sequence[EncodedVideo]) -> Agreement | None:
    """Compare step by step: each step of the strategy starts from the oracle's memory."""
    meter, model = AgreementMeter(), workload.model
    courses = [video.course(model.device, most=FORCED_FRAMES, lazily=True) for video in videos]
    with StreamOracle(model) as oracle, make_stream_strategy(config.strategy, model) as strategy:
        for _, expected, actual in in_lockstep(oracle, strategy, courses, courses, videos=config.videos):
            compare(meter, expected, actual)
    return meter.result()


def drift(found: FreeRun, compared: Compared | None) -> dict[str, Any]:
    """Return what is plotted against a frame's place in its video: mean IoU with the oracle, with truth, and its floor.

    Lists are by place; None where nothing was compared there.
    """
    truth = defaultdict(list)
    for one in found.scored:
        truth[one.place].append(one.j)
    oracle = {} if compared is None else compared.by_place
    floor = {} if compared is None else compared.floors.trajectory.ious
    places = sorted({*truth, *oracle})
    return {
        "frame": places,
        "oracle": [oracle.get(place) for place in places],
        "truth": [fmean(truth[place]) if place in truth else None for place in places],
        "floor": [fmean(floor[place]) if floor.get(place) else None for place in places],
    }
