"""What the oracle of streams predicts, and how far it is from itself when its inputs are off by rounding.

There are two floors, because a stream remembers what it predicts:

- the *noise floor* of a step: each step starts from the oracle's own memory, so nothing adds up;
- the *trajectory floor*: a session runs freely on inputs that are off by rounding, so differences go on into memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from statistics import fmean

import torch

from harness.masks.agreement import AgreementMeter, mask_ious
from harness.masks.noise import TIES, largest_in, noisy
from harness.masks.rule import ROUNDOFF, Differences, NoiseFloor
from harness.measure.streams.courses import Course, EncodedVideo, Step, follow
from harness.store.atomic import write_whole
from harness.workload.encode import Workload
from strategies.oracle import StreamOracle
from strategies.streams.base import StreamStrategy
from strategies.vocabulary import Predictions

FLOOR_VIDEOS = 2
"""The floors are measured on so many videos: noise hardly depends on the picture, and each costs three sessions."""
FLOOR_FRAMES = 24
"""And on so many frames of each, so that memory has become full."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryFloor:
    """How far a session's free run is from another that is off by rounding. ious: by the frame's place in its video."""

    ious: dict[int, list[float]] = field(repr=False)
    differences: Differences

    @property
    def all_ious(self) -> list[float]:
        return [iou for ious in self.ious.values() for iou in ious]

    @property
    def mean(self) -> float:
        return fmean(self.all_ious)


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Both floors. noise: of a step."""

    noise: NoiseFloor
    trajectory: TrajectoryFloor

    @staticmethod
    def of(workload: Workload, videos: Sequence[EncodedVideo], objects: int | None) -> Floors:
        """Return the floors of a workload's videos, which are measured when they are first asked for."""
        stored = workload.folder / f"stream-floors-{'all' if objects is None else objects}.json"
        if not stored.exists():
            floors = _measured(workload, videos[:FLOOR_VIDEOS])
            write_whole(stored, json.dumps(asdict(floors)))
        content = json.loads(stored.read_text(encoding="utf-8"))
        freely = content["trajectory"]
        return Floors(
            noise=NoiseFloor.from_json(content["noise"]),
            trajectory=TrajectoryFloor(
                ious={int(place): found for place, found in freely["ious"].items()},
                differences=Differences.from_json(freely["differences"]),
            ),
        )


def _measured(workload: Workload, videos: Sequence[EncodedVideo]) -> Floors:
    model = workload.model
    roundoff = ROUNDOFF[model.dtype]
    large = max(TIES, roundoff)
    clean = [video.course(model.device, most=FLOOR_FRAMES) for video in videos]
    # As in `harness.masks.noise`, half of the draws are a few roundoffs, which reach across a tie of stored memory.
    stepwise = [_rounded(course, (roundoff, large)) for course in clean]
    freely = [_rounded(course, (large,)) for course in clean]
    fine, wide, ious = AgreementMeter(), AgreementMeter(), dict[int, list[float]]()
    largest_score = largest_iou = 0.0
    with StreamOracle(model) as oracle, StreamOracle(model) as forced, StreamOracle(model) as free:
        first = {course.video: course.frames[0].number for course in clean}
        for _, expected, of_forced in in_lockstep(oracle, forced, clean, stepwise, videos=len(clean)):
            compare(fine, expected, of_forced)
            for found in expected.values():
                largest_score = max(largest_score, largest_in(found.object_scores))
                largest_iou = max(largest_iou, largest_in(found.ious))
        runs = (follow(strategy, courses, videos=len(clean)) for strategy, courses in ((oracle, clean), (free, freely)))
        for (numbers, expected), (_, of_free) in zip(*runs, strict=True):
            compare(wide, expected, of_free)
            for video, number in numbers.items():
                ious.setdefault(number - first[video], []).extend(pair_ious(expected[video], of_free[video]))
    result, freely_off = fine.result(), wide.result()
    assert result is not None
    assert freely_off is not None  # Every video predicts something after its first label.
    noise = NoiseFloor(
        dtype=model.dtype,
        fine=result.differences,
        coarse=result.differences,  # Each step starts from memory of the same bits, so nothing ties differently.
        largest_score=largest_score,
        largest_iou=largest_iou,
        iou=result.iou_mean,
        gate_flips=result.gate_flips,
        pick_flips=result.pick_flips,
        pairs=result.pairs,
    )
    return Floors(noise=noise, trajectory=TrajectoryFloor(ious=ious, differences=freely_off.differences))


def in_lockstep(
    oracle: StreamStrategy,
    forced: StreamStrategy,
    courses: Sequence[Course],
    of_forced: Sequence[Course],
    *,
    videos: int,
) -> Iterator[tuple[dict[str, int], Step, Step]]:
    """Take videos through the oracle, and through a strategy that starts each step from the oracle's memory.

    of_forced: the same videos as the strategy gets them. Yields the frames' numbers and both predictions of each step.
    """
    runs = (
        follow(oracle, courses, videos=videos),
        follow(forced, of_forced, videos=videos, before=lambda video: forced.remember(video, oracle.remembered(video))),
    )
    # The strategy takes a step before the oracle does, so that the oracle's memory is that of the step before.
    for (_, found), (numbers, expected) in zip(runs[1], runs[0], strict=True):
        yield numbers, expected, found


def compare(meter: AgreementMeter, expected: Step, found: Step) -> None:
    """Compare one step's predictions, video by video; a missing one is no answer, and neither is one too many.

    Where no object is to be predicted, and none is, there is nothing to compare.
    """
    for video, wanted in expected.items():
        answer = found.get(video, wanted[:0])
        if wanted.object_ids or answer.object_ids:
            meter.update(_labelled(video, wanted), wanted, answer)
    for video in found.keys() - expected.keys():
        meter.update(video, found[video][:0], found[video])


def pair_ious(expected: Predictions, found: Predictions) -> list[float]:
    """Return the IoU of each object's masks in one frame, at the model's resolution; two empty ones have 1."""
    (ious,) = mask_ious(expected.logits > 0, found.logits.to(expected.logits.device) > 0).tolist()
    return list(ious)


def _labelled(video: str, predictions: Predictions) -> str:
    """Name predictions by the video and its objects, which may become more."""
    return f"{video} ({','.join(map(str, predictions.object_ids))})"


def _rounded(course: Course, shares: Sequence[float]) -> Course:
    """Return the video with its features off by these shares in turn."""
    generator = torch.Generator().manual_seed(0)
    frames = [
        replace(frame, features=noisy(frame.features, share, generator))
        for frame, share in zip(course.frames, cycle(shares), strict=False)
    ]
    return replace(course, frames=frames)
