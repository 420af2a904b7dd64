"""Encoded videos, and their way through a strategy for streams: so many at once, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import overload

import numpy as np
import torch
from torch import Tensor

from harness.data.group import Frame
from harness.data.videos import in_order
from harness.measure.blocks import moved
from harness.workload.encode import EncodedGroup
from strategies.errors import UserError
from strategies.streams.base import StreamStrategy
from strategies.streams.vocabulary import Labels, StreamFrame, StreamReferences
from strategies.vocabulary import Predictions, References, VisionFeatures

Step = dict[str, Predictions]
"""What one step predicts, by video."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """A video on the device, ready to be followed from its first frame to its last."""

    references: StreamReferences
    frames: Sequence[StreamFrame]

    @property
    def video(self) -> str:
        return self.references.video

    @property
    def pairs(self) -> int:
        """How many (frame, object) pairs are predicted: those of objects that have been labelled before."""
        known: set[int] = set()
        labelled = {label.frame: label.object_ids for label in self.references.labels}
        pairs = 0
        for number in range(self.references.first_frame, self.references.first_frame + len(self.frames)):
            now = labelled.get(number, ())
            pairs += len(known.difference(now))
            known.update(now)
        return pairs


class LazyFrames(Sequence[StreamFrame]):
    """Frames that are made when they are asked for, and not kept."""

    def __init__(self, numbers: Sequence[int], make: Callable[[int], StreamFrame]) -> None:
        self._numbers = numbers
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> StreamFrame: ...
    @overload
    def __getitem__(self, index: slice) -> LazyFrames: ...
    def __getitem__(self, index: int | slice) -> StreamFrame | LazyFrames:
        if isinstance(index, slice):
            return LazyFrames(self._numbers[index], self._make)
        return self._make(self._numbers[index])


@dataclass(frozen=True, kw_only=True)
class EncodedVideo:
    """A video with its features, which are on the CPU, on disk, and are read whenever they are asked for.

    objects: the ids that are followed. frames: with their numbers, in order, references included.
    """

    name: str
    objects: tuple[int, ...]
    frames: Sequence[tuple[int, Frame]]
    labels: tuple[Labels, ...]
    _encoded: EncodedGroup = field(repr=False)
    _references: dict[int, VisionFeatures] = field(repr=False)
    _places: dict[int, int] = field(repr=False)

    @staticmethod
    def of(encoded: EncodedGroup, objects: int | None) -> EncodedVideo:
        """Return the video that a group is, with its first ``objects`` objects; with all where it is None.

        It begins with the first frame that labels one of these, because before it there is nothing to follow. Raises
        UserError where none does, as objects may vanish at the model's resolution.
        """
        group, references = encoded.group, encoded.references(torch.device("cpu"), objects)
        labels = _labels(references, group.reference_numbers)
        if not labels:
            raise UserError(
                f"no reference of video {group.name} shows one of its objects at the model's "
                f"{references.masks.shape[-1]} px: label larger objects, or crop the pictures around them"
            )
        return EncodedVideo(
            name=group.name,
            objects=references.object_ids,
            frames=[(number, frame) for number, frame in in_order(group) if number >= labels[0].frame],
            labels=labels,
            _encoded=encoded,
            _references={
                number: references.features[place : place + 1] for place, number in enumerate(group.reference_numbers)
            },
            _places={number: place for place, number in enumerate(group.target_numbers)},
        )

    @property
    def first(self) -> int:
        return self.frames[0][0]

    @property
    def bytes_per_frame(self) -> int:
        features = self._references[self.first]
        return sum(level.nbytes for level in (features.embedding, features.stride4, features.stride8))

    def truth(self, number: int) -> np.ndarray | None:
        """Return the true ids in a frame, ``[height, width]``; None where there are none, and for a reference."""
        if number not in self._places:
            return None
        labels = self._encoded.group.targets[self._places[number]].labels
        return None if labels is None else labels()

    def course(self, device: torch.device, *, most: int | None = None, moves: int = 0, lazily: bool = False) -> Course:
        """Return the first ``most`` frames with their labels, with everything moved around the picture's edges.

        moves: which of the places everything is moved to; 0 leaves it where it is. lazily: frames come to the device
        when they are asked for, each time anew, so that a long video takes no more memory than a short one.
        """
        numbers = [number for number, _ in self.frames[:most]]
        labels = tuple(
            Labels(frame=label.frame, masks=self._moved_masks(label.masks, moves), object_ids=label.object_ids)
            for label in self.labels
            if label.frame <= numbers[-1]
        )

        def frame(number: int) -> StreamFrame:
            return StreamFrame(number=number, features=self._moved(number, moves).to(device))

        frames = LazyFrames(numbers, frame) if lazily else list(map(frame, numbers))
        references = StreamReferences(video=self.name, labels=labels, first_frame=numbers[0], length=len(numbers))
        return Course(references=references, frames=frames)

    def _moved(self, number: int, moves: int) -> VisionFeatures:
        if number in self._references:
            features = self._references[number].clone()
        else:
            features = self._encoded.target(self._places[number])
        return moved(features, moves) if moves else features

    def _moved_masks(self, masks: Tensor, moves: int) -> Tensor:
        height, width = self._references[self.first].embedding.shape[-2:]
        down, right = divmod(moves % (height * width), width)
        stride = masks.shape[-1] // width
        return masks.roll((down * stride, right * stride), dims=(-2, -1))


def _labels(references: References, numbers: Sequence[int]) -> tuple[Labels, ...]:
    """Return the label of each frame, of the objects that it shows: others go on as they were."""
    shown = references.masks.flatten(2).any(dim=2)
    return tuple(
        Labels(
            frame=number,
            masks=references.masks[place][there],
            object_ids=tuple(compress(references.object_ids, there.tolist())),
        )
        for place, (number, there) in enumerate(zip(numbers, shown, strict=True))
        if there.any()
    )


def follow(
    strategy: StreamStrategy,
    courses: Sequence[Course],
    *,
    videos: int,
    before: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[dict[str, int], Step]]:
    """Take videos through a strategy, so many at once; one that ends frees its slot, and the next one takes it.

    before: called with each video before each of its frames but the first. Yields after each step the number of each
    video's frame, and what was predicted.
    """
    waiting, under_way = deque(courses), list[tuple[Course, int]]()
    while waiting or under_way:
        while waiting and len(under_way) < videos:
            course = waiting.popleft()
            strategy.prepare([course.references])
            under_way.append((course, 0))
        frames = {course.video: course.frames[place] for course, place in under_way}
        for course, place in under_way:
            if place > 0:
                before(course.video)
        found = strategy.step(frames)
        yield {video: frame.number for video, frame in frames.items()}, found
        for course, place in under_way:
            if place + 1 == len(course.frames):
                strategy.finish(course.video)
        under_way = [(course, place + 1) for course, place in under_way if place + 1 < len(course.frames)]
