"""The words of streams as data: labels, frames, and what is remembered. Shape letters are `strategies.vocabulary`'s."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from strategies.errors import UserError
from strategies.vocabulary import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The label of one frame of a video.

    frame: its number. masks: bool ``[O, S, S]``, one for each object that the frame labels; an empty mask says that the
    object is absent. object_ids: O distinct positive ids, in the order of the masks. An object that is not among them
    is not labelled there, and goes on as it was.
    """

    frame: int
    masks: Tensor
    object_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise UserError where masks and ids do not belong together."""
        if len(self.masks) != len(self.object_ids) or not self.object_ids:
            raise UserError(
                f"the label of frame {self.frame} has {len(self.masks)} masks for {len(self.object_ids)} object ids: "
                "give one mask for each id, and at least one"
            )
        if min(self.object_ids) < 1 or len(set(self.object_ids)) != len(self.object_ids):
            raise UserError(
                f"the label of frame {self.frame} has object_ids={self.object_ids}, which must be different numbers "
                "from 1 on; 0 is the background"
            )


@dataclass(frozen=True, kw_only=True)
class StreamReferences:
    """The labelled frames of one video, as far as they are known.

    Their features are not in here, because they come with `StreamStrategy.step` as those of every frame.

    video: the video's name. labels: in the order of their frames. first_frame: the number of the first frame that will
    come. length: how many frames will come, where that is known; it is only checked. Masks do not depend on it: times
    are those of a stream (DESIGN section 3, trap 4), so object pointers are 15 frames apart at most, however short the
    video is.
    """

    video: str
    labels: tuple[Labels, ...]
    first_frame: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        """Raise UserError where labels stand in another order than frames, or outside of the video."""
        frames = [label.frame for label in self.labels]
        if not frames:
            raise UserError(f"video {self.video} has no labelled frame: give at least one")
        if frames != sorted(set(frames)):
            raise UserError(f"video {self.video} has labels of frames {frames}: give each frame once, in order")
        if self.first_frame < 0:  # Sessions of transformers see no pointer of a frame before 0.
            raise UserError(f"video {self.video} begins with frame {self.first_frame}: number frames from 0 on")
        if frames[0] < self.first_frame:
            raise UserError(
                f"video {self.video} has a label of frame {frames[0]}, but begins with frame {self.first_frame}: "
                "give labels of frames that come"
            )
        if self.length is None:
            return
        if self.length < 2:
            raise UserError(
                f"video {self.video} has {self.length} frame: give at least two, one with a label and one to predict"
            )
        end = self.first_frame + self.length
        if frames[-1] >= end:
            raise UserError(
                f"video {self.video} has a label of frame {frames[-1]}, but ends with frame {end - 1}: "
                "give labels of frames that come"
            )


@dataclass(frozen=True, kw_only=True)
class StreamFrame:
    """The next frame of a video: its number, and its features, ``[1, ...]``, from the model's encoder."""

    number: int
    features: VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What is remembered of an object on one frame.

    labelled: whether the frame was labelled, so that its memory is a conditioning one. spatial: ``[memory tokens, W]``,
    None where only the pointer can still be seen. pointer: ``[C]``.
    """

    object_id: int
    frame: int
    labelled: bool
    spatial: Tensor | None
    pointer: Tensor
