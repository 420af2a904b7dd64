"""Which frames of a stream are remembered, where, and what the next frame sees of them.

Two families of rules: those of the network (`transformers`' ``_gather_memory_frame_outputs`` and
``_get_object_pointers``), and those of the original for memories that lie ``stride`` frames apart
(``memory_temporal_stride_for_eval``), which the port leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

EMPTY = -(2**40)
"""The number of the frame of a place that holds nothing: so long ago that nobody sees it."""
UNSEEN = -1
"""The temporal offset of what the next frame does not see."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The rules of one model and its options.

    memories: the most spatial memories of tracked frames that a frame sees; stride: how far apart they are, but for the
    newest, which is always the frame before. conditioning: the most labelled frames whose spatial memories a frame sees
    as such, None for all; labelled frames beyond are seen as tracked ones would be (DESIGN section 3, trap 5).
    pointers: how many frames back a pointer is seen.
    """

    memories: int
    stride: int
    conditioning: int | None
    pointers: int

    @property
    def places(self) -> int:
        """The number of places for spatial memories of tracked frames.

        With a stride, the first place is for the newest frame, and the others are a ring of frames that the stride
        divides; the newest may be one of them before it is old enough to be seen as such.
        """
        return self.memories if self.stride == 1 else self.memories + 1

    def places_of(self, frames: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield indices into the frames, and where these go."""
        every = np.arange(len(frames))
        if self.memories == 0:
            return
        if self.stride == 1:
            yield every, frames % self.memories
            return
        yield every, np.zeros_like(frames)
        divided = every[frames % self.stride == 0]
        yield divided, 1 + frames[divided] // self.stride % self.memories

    def offsets(self, now: Numbers, frames: Numbers) -> Numbers:
        """Return the temporal offset at which each spatial memory is seen, `UNSEEN` where it is not.

        now: the frames that look, ``[P]``; frames: those of the places, ``[P, places]``. Offset 0 is that of a
        conditioning frame.
        """
        ring, labelled = frames[:, : self.places], frames[:, self.places :]
        of_ring = self._recent(now[:, None], ring)
        if self.stride > 1:  # Where the newest frame is in the ring as well, it is seen in the first place only.
            newest = of_ring == 1
            newest[:, 1:] = ~newest[:, 1:]
            of_ring = np.where(newest, of_ring, UNSEEN)
        return np.concatenate([of_ring, self._of_labelled(now[:, None], labelled)], axis=1)

    def pointer_ages(self, now: Numbers, frames: Numbers) -> Numbers:
        """Return how old each pointer is that is seen, and `UNSEEN` of others, in the shapes of `offsets`."""
        ages = now[:, None] - frames
        ages[:, : self.pointers][ages[:, : self.pointers] > self.pointers] = UNSEEN
        return np.where(frames == EMPTY, UNSEEN, ages)

    def _recent(self, now: Numbers, frames: Numbers) -> Numbers:
        """Return the offsets of frames that are seen because they are recent."""
        newest = now - 1
        anchor = (now - 2) // self.stride * self.stride  # The newest of those that the stride divides.
        steps, rest = np.divmod(anchor - frames, self.stride)
        offsets = np.where((rest == 0) & (steps >= 0), 2 + steps, UNSEEN)
        offsets = np.where(frames == newest, 1, offsets)
        return np.where(offsets <= self.memories, offsets, UNSEEN)

    def _of_labelled(self, now: Numbers, frames: Numbers) -> Numbers:
        if self.conditioning is None:
            return np.where(frames == EMPTY, UNSEEN, 0)
        newer = (frames[:, None, :] > frames[:, :, None]).sum(axis=2)
        closest = (newer < self.conditioning) & (frames != EMPTY)
        return np.where(closest, 0, self._recent(now, frames))
