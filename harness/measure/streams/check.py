"""The masks of a strategy for streams: against the oracle step by step and in a free run, and against the truth.

The free run comes first and alone, so the memory peak is the strategy's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.masks.agreement import AgreementMeter
from harness.masks.rule import ALIKE, Agreement, Limits, disagreement
from harness.masks.scores import frame_scores
from harness.measure.making import make_stream_strategy
from harness.measure.streams.courses import Course, EncodedVideo, Step, follow
from harness.measure.streams.floor import Floors, compare, in_lockstep, pair_ious
from harness.measure.streams.free import FreeLimits, FreeMeter, misfit_of
from harness.measure.streams.spool import Spool
from harness.observe.memory import PeakMemory, Peaks
from harness.options.config import HarnessConfig
from harness.options.shipped import OF_STREAMS
from harness.workload.encode import Workload
from strategies.oracle import StreamOracle
from strategies.streams.base import StreamStrategy


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
    scored: where there is truth. steps: what was predicted, by the step, on disk.
    """

    peaks: Peaks
    bytes_per_pair: float | None
    scored: Sequence[Scored] = field(repr=False)
    steps: Spool = field(repr=False)

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


def run_freely(strategy: StreamStrategy, videos: Sequence[EncodedVideo], *, at_once: int, folder: Path) -> FreeRun:
    """Follow all videos from their first frames to their last, and score the masks where there is truth.

    folder: where there is room for the masks.
    """
    device, steps = strategy.model.device, Spool(folder)
    courses = [video.course(device, lazily=True) for video in videos]
    memory = PeakMemory(device)
    kept: list[float] = []
    before: tuple[dict[str, int], Step] | None = None
    for numbers, found in follow(strategy, courses, videos=at_once):
        pairs = sum(len(strategy.objects(video)) for video in strategy.under_way)
        if pairs and len(numbers) == min(at_once, len(videos)):
            kept.append(strategy.state_bytes / pairs)
        if before is not None:  # Only now, so that an answer that the next step overwrites is a wrong one.
            steps.add(*before)
        before = numbers, found
    peaks = memory.read()
    if before is not None:
        steps.add(*before)
    strategy.release()
    return FreeRun(peaks=peaks, bytes_per_pair=kept[-1] if kept else None, scored=_scored(videos, steps), steps=steps)


def _scored(videos: Sequence[EncodedVideo], steps: Spool) -> list[Scored]:
    by_name = {video.name: video for video in videos}
    found = []
    for numbers, step in steps:
        for name, predictions in step.items():
            video = by_name.get(name)  # A wrong strategy may answer for a video that there is not.
            labels = None if video is None else video.truth(numbers[name])
            if video is None or labels is None or not predictions.object_ids:
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
    masks do not count as the oracle's, or why any one's are no answer; None where they do. limit: of the free run.
    """

    floors: Floors
    limits: Limits
    free: Agreement | None
    by_place: dict[int, float]
    forced: Agreement | None
    fault: str | None
    limit: FreeLimits

    @property
    def same(self) -> bool:
        """Whether masks count as the oracle's; of a strategy with another memory, where all are alike in a free run."""
        if self.forced is not None or self.free is None:
            return self.fault is None
        return self.fault is None and self.free.iou_min >= ALIKE


def compare_with_oracle(
    config: HarnessConfig, workload: Workload, videos: Sequence[EncodedVideo], found: FreeRun, *, exact: bool
) -> Compared:
    """Compare a free run with the oracle's, and an exact strategy step by step, too."""
    floors = Floors.of(workload, videos, config.objects)
    limits, limit = Limits.above(floors.noise), FreeLimits.above(floors)
    of_free, of_forced, by_place = FreeMeter(), AgreementMeter(), defaultdict[int, list[float]](list)
    first = {video.name: video.first for video in videos}
    beside = _beside_oracle(config, workload, videos, exact=exact)
    for (numbers, expected, forced), (_, actual) in zip(beside, found.steps, strict=True):
        expected = {video: one.cpu() for video, one in expected.items()}
        places = {video: number - first[video] for video, number in numbers.items()}
        of_free.update(expected, actual, places)
        if forced is not None:
            compare(of_forced, expected, forced)
        for video, one in expected.items():
            if video in actual and actual[video].object_ids == one.object_ids:
                by_place[places[video]] += pair_ious(one, actual[video])
    free, forced_agreement = of_free.result(), of_forced.result()
    if exact:
        fault = disagreement(forced_agreement, limits, oracle=OF_STREAMS) or of_free.fault(limit)
    else:
        fault = None if free is None else misfit_of(free)
    return Compared(
        floors=floors,
        limits=limits,
        free=free,
        by_place={place: fmean(ious) for place, ious in sorted(by_place.items()) if ious},
        forced=forced_agreement,
        fault=fault,
        limit=limit,
    )


def _beside_oracle(
    config: HarnessConfig, workload: Workload, videos: Sequence[EncodedVideo], *, exact: bool
) -> Iterator[tuple[dict[str, int], Step, Step | None]]:
    """Follow all videos by the oracle, and by an exact strategy whose every step starts from the oracle's memory.

    Yields the frames' numbers and both predictions of each step, None of a strategy that is not exact.
    """
    model = workload.model

    def courses() -> list[Course]:
        return [video.course(model.device, lazily=True) for video in videos]

    with StreamOracle(model) as oracle:
        if not exact:
            yield from ((numbers, one, None) for numbers, one in follow(oracle, courses(), videos=config.videos))
            return
        with make_stream_strategy(config.strategy, model) as strategy:
            yield from in_lockstep(oracle, strategy, courses(), courses(), videos=config.videos)


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
