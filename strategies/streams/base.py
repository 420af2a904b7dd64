"""The interface that every strategy for streams has.

A stream is a video whose frames come in order, each once. Some of them are labelled; on all others the objects that
have been labelled before are predicted, and every prediction enters memory. That is why this is not `strategies.base`'s
interface, in which no target depends on another.

The semantics are those of each object alone: an object's masks are what a streaming session of transformers predicts
for a video in which nothing else is tracked, whatever other objects and videos share the batch (DESIGN section 10). An
object is tracked from its first label on; where a frame labels it again, the label is remembered, nothing predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

import torch

from strategies.errors import UserError
from strategies.models.tracker import Tracker
from strategies.streams.vocabulary import Labels, Remembered, StreamFrame, StreamReferences
from strategies.vocabulary import Predictions, VisionFeatures


@dataclass(kw_only=True)
class _Course:
    """How far a video is.

    pending: labels of frames to come, by frame. objects: the ids that have been labelled, in the order of their first.
    """

    next_frame: int
    end: int | None
    pending: dict[int, Labels]
    objects: tuple[int, ...] = ()


class StreamStrategy(ABC):
    """One way to follow the objects of several videos.

    Use: `prepare` videos, `step` with the next frame of each, `finish` one that has ended, which frees its slot, and
    `prepare` another one at any time between steps; `release` (or leave the ``with`` block) in the end. A strategy is
    not thread-safe.

    Subclasses implement what begins with an underscore; it runs in inference mode and in the model's dtype, and is
    called with input that has been checked.
    """

    exact_where: ClassVar[str] = ""
    """The condition under which a strategy is exact that is so only with some options or models, in words."""

    exact: bool = True
    """Whether masks are those of each object alone, in a session of its own (see the module's docstring)."""

    def __init__(self, model: Tracker, *, videos: int | None = None) -> None:
        """videos: the number of slots, which is how many videos can be under way at once; None for any number."""
        if videos is not None and videos < 1:
            raise UserError(f"videos={videos} must be at least 1")
        self.model = model
        self.videos = videos
        self._courses: dict[str, _Course] = {}

    # --- what users call ---------------------------------------------------------------------------------------

    def prepare(self, references: Sequence[StreamReferences]) -> None:
        """Begin videos that are not under way, each in a free slot, and take further labels of those that are.

        A label can be given until its frame comes.
        Raises UserError where there is no free slot, or where labels are of frames that have passed.
        """
        for one in references:
            self._check_masks(one)
            course = self._courses.get(one.video)
            if course is None:
                self._begin(one)
            else:
                self._add_labels(one, course)

    def step(self, frames: Mapping[str, StreamFrame]) -> dict[str, Predictions]:
        """Take the next frame of every video that is under way, and predict its objects.

        Returns, for each video, the predictions of one target, for the objects that have been labelled before and are
        not labelled on this frame; there may be none, in which case tensors are empty along that axis.
        Raises UserError where videos are missing or unknown, or a frame is not the next one.
        """
        if not self._courses:
            raise RuntimeError("prepare at least one video before the first step")
        self._check_frames(frames)
        labels = {video: self._courses[video].pending.pop(frame.number, None) for video, frame in frames.items()}
        with self.model.computing():
            predictions = self._step(frames, labels)
        for video, course in self._courses.items():
            course.next_frame += 1
            label = labels[video]
            if label is not None:
                course.objects = tuple(dict.fromkeys((*course.objects, *label.object_ids)))
        return predictions

    def finish(self, video: str) -> None:
        """End a video and free its slot.

        Raises UserError where it is not under way, or where labels were given for frames that never came; the video is
        ended all the same.
        """
        course = self._course(video)
        del self._courses[video]
        self._finish(video)
        if course.pending:
            raise UserError(
                f"video {video} ended before frame {course.next_frame}, but has a label of frame "
                f"{min(course.pending)}: give labels of frames that come"
            )

    def release(self) -> None:
        """Forget all videos and free their memory; this is harmless where none is under way."""
        self._courses = {}
        self._release()

    @property
    def under_way(self) -> tuple[str, ...]:
        """The videos that have begun and not ended, in the order in which they began."""
        return tuple(self._courses)

    def objects(self, video: str) -> tuple[int, ...]:
        """Return the ids that have been labelled so far, in the order of their first labels."""
        return self._course(video).objects

    def next_frame(self, video: str) -> int:
        """Return the number of the frame that the next step has to bring."""
        return self._course(video).next_frame

    def remembered(self, video: str) -> tuple[Remembered, ...]:
        """Return all that the next step can see of a video's past."""
        self._course(video)
        return self._remembered(video)

    def remember(self, video: str, frames: Sequence[Remembered]) -> None:
        """Replace what is remembered of a video's past, so that the next step can start from another's memory.

        The frames have to be of the objects that the video has.
        """
        self._course(video)
        with self.model.computing():
            self._remember(video, frames)

    @property
    @abstractmethod
    def state_bytes(self) -> int:
        """The bytes of all tensors that are kept between steps."""

    @property
    def pairs_at_once(self) -> int:
        """How many (video, object) pairs go through the network at once."""
        return 1

    # --- what subclasses implement -----------------------------------------------------------------------------

    @abstractmethod
    def _step(self, frames: Mapping[str, StreamFrame], labels: Mapping[str, Labels | None]) -> dict[str, Predictions]:
        """Predict and remember; ``labels`` has what each video's frame is labelled with."""

    @abstractmethod
    def _finish(self, video: str) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _remembered(self, video: str) -> tuple[Remembered, ...]: ...

    @abstractmethod
    def _remember(self, video: str, frames: Sequence[Remembered]) -> None: ...

    def _tracked(self, video: str, label: Labels | None) -> tuple[int, ...]:
        """Return the objects that are predicted on a frame with that label."""
        labelled = () if label is None else label.object_ids
        return tuple(each for each in self._courses[video].objects if each not in labelled)

    # --- checks ------------------------------------------------------------------------------------------------

    def _begin(self, references: StreamReferences) -> None:
        if self.videos is not None and len(self._courses) >= self.videos:
            raise UserError(
                f"video {references.video} finds no free slot: videos={self.videos} are under way, so finish one or "
                "raise videos"
            )
        first = references.first_frame
        self._courses[references.video] = _Course(
            next_frame=first,
            end=None if references.length is None else first + references.length,
            pending={label.frame: label for label in references.labels},
        )

    def _add_labels(self, references: StreamReferences, course: _Course) -> None:
        for label in references.labels:
            if label.frame < course.next_frame or (course.end is not None and label.frame >= course.end):
                raise UserError(
                    f"video {references.video} has a label of frame {label.frame}, which will not come: its next frame "
                    f"is {course.next_frame}" + ("" if course.end is None else f" and its last {course.end - 1}")
                )
            if label.frame in course.pending:
                raise UserError(f"video {references.video} has a label of frame {label.frame} already: give it once")
            course.pending[label.frame] = label

    def _check_masks(self, references: StreamReferences) -> None:
        for label in references.labels:
            if tuple(label.masks.shape[1:]) != (self.model.side, self.model.side):
                raise UserError(
                    f"video {references.video} has a label of frame {label.frame} with masks of "
                    f"{' x '.join(map(str, label.masks.shape[1:]))}, but {self.model.name} takes them at "
                    f"{self.model.side} x {self.model.side}: use preprocessing.label_map_to_masks"
                )

    def _check_frames(self, frames: Mapping[str, StreamFrame]) -> None:
        missing = [video for video in self._courses if video not in frames]
        if missing:
            raise UserError(
                f"a step has no frame of video {missing[0]}: give the next frame of every video, or finish those that "
                "have ended"
            )
        for video, frame in frames.items():
            course = self._course(video)
            if frame.number != course.next_frame:
                raise UserError(
                    f"video {video} has frame {frame.number} where frame {course.next_frame} should come: give every "
                    "frame once, in order"
                )
            if course.end is not None and frame.number >= course.end:
                raise UserError(
                    f"video {video} has frame {frame.number}, but by its length frame {course.end - 1} is the last: "
                    "finish it, or give the right length"
                )
            self._check_features(video, frame)

    def _check_features(self, video: str, frame: StreamFrame) -> None:
        tokens, shape = self.model.dimensions.image_tokens, frame.features.embedding.shape
        if shape[0] != 1 or shape[2] * shape[3] != tokens:
            raise UserError(
                f"video {video} has features of shape {tuple(shape)} for frame {frame.number}, where {self.model.name} "
                f"makes one picture of {tokens} tokens: encode every frame by the model"
            )

    def _course(self, video: str) -> _Course:
        try:
            return self._courses[video]
        except KeyError:
            under_way = ", ".join(self._courses) or "none"
            raise UserError(f"video {video} is not under way (under way: {under_way}): prepare it first") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def nothing_predicted(features: VisionFeatures, model: Tracker) -> Predictions:
    """Return the predictions of one target without objects."""
    empty = features.embedding.new_zeros(1, 0, dtype=torch.float32)
    height, width = features.stride4.shape[-2:]
    return Predictions(
        logits=empty[..., None, None].expand(1, 0, height, width),
        object_scores=empty,
        ious=empty[..., None].expand(1, 0, model.dimensions.mask_decoder.candidates),
        object_ids=(),
    )
