"""The scenario ``stream``: videos frame by frame, so many at once, from features to masks that enter memory.

A call takes whole stretches of videos, from their first frames on: a video begins in an empty slot, and one that ends
makes room for the next. A block is the same stretch of the same videos, with everything in them, labels included, moved
around the pictures' edges to another place in each turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.data.group import evenly
from harness.measure.scenario import Findings, ReleasableSide
from harness.measure.speed_measurement import SpeedMeasurement
from harness.measure.streams.courses import Course, EncodedVideo, Step, follow
from harness.measure.streams.free import FreeLimits, FreeMeter, misfit_of
from harness.options.config import HarnessConfig
from harness.result import SideName
from harness.workload.encode import same_bits
from strategies.streams.base import StreamStrategy

FIRST_STEPS = 4
"""A first call takes so many frames of each video."""
LEAST_STEPS = 16
"""A block has at least so many frames of each video, where the video has: by then memory is full of predictions."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The inputs of a turn: videos, and their place around the pictures' edges."""

    courses: Sequence[Course]
    moves: int
    most: int

    @property
    def frames(self) -> int:
        return sum(len(course.frames) for course in self.courses)


class Stream:
    """The work of a point that follows its workload's videos."""

    def __init__(
        self,
        config: HarnessConfig,
        videos: Sequence[EncodedVideo],
        *,
        candidate: StreamStrategy,
        baseline: StreamStrategy | None,
        limit: FreeLimits | None,
    ) -> None:
        """Take what the timed blocks need. limit: of an exact strategy's masks; None where none is compared."""
        self._strategies: dict[SideName, StreamStrategy] = {"candidate": candidate}
        if baseline is not None:
            self._strategies["baseline"] = baseline
        chosen = evenly(videos, max(config.videos, config.timing.groups))
        self.work = StreamWork(config, chosen, strategies=self._strategies)
        self._limit = limit

    @property
    def paired(self) -> bool:
        return "baseline" in self._strategies

    def timed_groups(self) -> list[StreamWork]:
        """Return one group: all videos share the slots."""
        return [self.work]

    def findings(self, timed: SpeedMeasurement, *, first: bool) -> Findings:
        """Return what is wrong with the masks of timed blocks; there are no columns that only the scenario knows."""
        return Findings(fault=self._fault())

    def _fault(self) -> str | None:
        work = self.work
        if work.changed_inputs:
            return "the strategy changes the frames' features, which are not its own, while timed"
        both_exact = all(strategy.exact for strategy in self._strategies.values())
        found = work.meter.result()
        if found is None or self._limit is None:
            return None
        fault = work.meter.fault(self._limit) if both_exact else misfit_of(found)
        return None if fault is None else f"{fault}, in the timed blocks"


class StreamWork:
    """The work that is timed: all videos together.

    meter: of the two sides' masks in timed blocks. changed_inputs: whether a side did not leave features as they were.
    most: frames of each video in a block. pairs_of_a_frame: the objects that are predicted in one of them, on average.
    """

    def __init__(
        self,
        config: HarnessConfig,
        videos: Sequence[EncodedVideo],
        *,
        strategies: dict[SideName, StreamStrategy],
    ) -> None:
        self._config = config
        self._videos = videos
        self._strategies = strategies
        self._device = strategies["candidate"].model.device
        self._first: Stretch | None = None
        self.most = FIRST_STEPS
        self.meter = FreeMeter()
        self.changed_inputs = False
        self.pairs_of_a_frame = 0.0

    @property
    def name(self) -> str:
        return "videos"

    @property
    def targets(self) -> int:
        return sum(len(video.frames) for video in self._videos)

    @property
    def first(self) -> Stretch:
        if self._first is None:
            self._first = self.stretch(0, most=FIRST_STEPS)
        return self._first

    def stretch(self, moves: int, *, most: int) -> Stretch:
        """Return the videos' first ``most`` frames, moved to a place."""
        start = moves % len(self._videos)
        ordered = (*self._videos[start:], *self._videos[:start])
        courses = [video.course(self._device, most=most, moves=moves) for video in ordered]
        return Stretch(courses=courses, moves=moves, most=most)

    def sides(self, *, paired: bool) -> dict[SideName, ReleasableSide[Stretch, list[Step]]]:
        return {
            name: Followed(strategy, videos=self._config.videos)
            for name, strategy in self._strategies.items()
            if paired or name == "candidate"
        }

    def block(self, *, seconds_per_call: float, paired: bool) -> StreamBlock:
        longest = max(len(video.frames) for video in self._videos)
        by_time = (
            FIRST_STEPS * self._config.timing.block_seconds / seconds_per_call if seconds_per_call > 0 else longest
        )
        bytes_per_step = sum(video.bytes_per_frame for video in self._videos)
        by_memory = self._config.timing.block_mb * 2**20 / bytes_per_step
        most = max(2, int(min(max(LEAST_STEPS, by_time), by_memory, longest)))
        self.most = most
        stretch = self.stretch(0, most=most)
        self.pairs_of_a_frame = sum(course.pairs for course in stretch.courses) / stretch.frames
        return StreamBlock(self, frames=stretch.frames)

    def check_baseline(self, outputs: list[Step]) -> None:
        """Leave the masks to the blocks, which have more of them."""

    def check(self, given: Stretch, of_baseline: list[Step] | None, of_candidate: list[Step]) -> None:
        """Compare the two sides' masks, and look whether the features are still what they were."""
        if of_baseline is not None:
            places = Counter[str]()
            for expected, found in zip(of_baseline, of_candidate, strict=True):
                self.meter.update(expected, found, places)
                places.update(expected.keys())
        original = self.stretch(given.moves, most=given.most)
        for course, other in zip(given.courses, original.courses, strict=True):
            for frame, same in zip(course.frames, other.frames, strict=True):
                self.changed_inputs |= not same_bits(frame.features, same.features)

    def close(self) -> None:
        self._first = None


class StreamBlock:
    """The same stretch of the same videos, whose masks are compared after each turn."""

    def __init__(self, work: StreamWork, *, frames: int) -> None:
        self._work = work
        self._frames = frames
        self._given: Stretch | None = None

    @property
    def targets(self) -> int:
        return self._frames

    @property
    def shapes(self) -> Sequence[Stretch]:
        """The whole stretch on a GPU, where each length of memory may be a shape that kernels are chosen for."""
        given = self._stretch(0)
        return [given] if given.courses[0].frames[0].features.embedding.is_cuda else []

    def inputs(self, turn: int) -> Stretch:
        self._given = self._stretch(turn)
        return self._given

    def check(self, turn: int, of_baseline: list[Step] | None, of_candidate: list[Step]) -> None:
        given, self._given = self._given, None  # The next turn's are made without these beside them.
        assert given is not None
        self._work.check(given, of_baseline, of_candidate)

    def _stretch(self, turn: int) -> Stretch:
        return self._work.stretch(turn + 1, most=self._work.most)


class Followed:
    """A strategy for streams as one side of a pair. A call begins with no video under way and ends so."""

    def __init__(self, strategy: StreamStrategy, *, videos: int) -> None:
        self._strategy = strategy
        self._videos = videos

    def ready(self) -> None:
        """Do nothing: a stretch brings its labels, and conditioning on them is part of what is timed."""

    def run(self, stretch: Stretch) -> list[Step]:
        return [found for _, found in follow(self._strategy, stretch.courses, videos=self._videos)]

    def release(self) -> None:
        self._strategy.release()
        if self._strategy.model.device.type == "cuda":
            torch.cuda.empty_cache()
