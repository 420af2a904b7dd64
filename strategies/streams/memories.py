"""The memories of all pairs of a video and an object: one tensor of spatial memories, and one of object pointers.

A pair has one row. Its places are a ring for the frames that were tracked, in which a new frame takes the place of the
oldest, and behind it a place for each labelled frame. Which frame lies where is kept beside the tensors on the CPU, so
that nothing waits for a GPU. The order of places means nothing: attention reads a set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strategies.models.tracker import Tracker
from strategies.streams.schedule import EMPTY, Numbers, Schedule


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered of P pairs on one frame each: spatial ``[P, memory tokens, W]`` and pointers ``[P, C]``."""

    spatial: Tensor
    pointers: Tensor


class Ring:
    """Values ``[rows, places, ...]``, of which the first places are a ring and the others are for labelled frames."""

    def __init__(self, like: Tensor, *, tracked: int) -> None:
        """like: one value, of the shape and dtype of all. tracked: the places of the ring."""
        self.tracked = tracked
        self.values = like.new_zeros(0, tracked, *like.shape)
        self.frames: Numbers = np.full((0, tracked), EMPTY)

    def grow(self, rows: int, labelled: int) -> None:
        """Make room for so many rows and labelled frames of a pair, where there is less."""
        before, places = self.frames.shape
        rows, columns = max(rows, before), max(self.tracked + labelled, places)
        if (rows, columns) == (before, places):
            return
        values = self.values.new_zeros(rows, columns, *self.values.shape[2:])
        values[:before, :places] = self.values
        frames = np.full((rows, columns), EMPTY)
        frames[:before, :places] = self.frames
        self.values, self.frames = values, frames

    def write(self, rows: Numbers, places: Numbers, frames: Numbers, values: Tensor) -> None:
        self.frames[rows, places] = frames
        self.values[self._index(rows), self._index(places)] = values.to(self.values.dtype)

    def read(self, rows: Numbers, places: Numbers) -> Tensor:
        """Return ``[P, K, ...]`` of P rows and K places."""
        return self.values[self._index(rows)[:, None], self._index(places)]

    def clear(self, rows: Numbers) -> None:
        self.frames[rows] = EMPTY

    def _index(self, numbers: Numbers) -> Tensor:
        return torch.from_numpy(numbers).to(self.values.device, non_blocking=True)


class Memories:
    """All rows, and which of them are free.

    labelled: the most labelled frames that are kept of a pair, of which the oldest makes way; None for all.
    """

    def __init__(self, model: Tracker, schedule: Schedule, *, labelled: int | None) -> None:
        dimensions = model.dimensions
        spatial = torch.empty(
            dimensions.memory_tokens, dimensions.memory_width, dtype=model.memory_dtype, device=model.device
        )
        self.spatial = Ring(spatial, tracked=schedule.places)
        self.pointers = Ring(torch.empty(dimensions.hidden, device=model.device), tracked=schedule.pointers)
        self._schedule = schedule
        self._most_labelled = labelled
        self._free: list[int] = []

    def take(self, count: int) -> list[int]:
        """Take so many free rows, which remember nothing; where there are fewer, room is made for just as many."""
        missing = count - len(self._free)
        if missing > 0:
            rows = len(self.spatial.frames)
            self._free.extend(range(rows, rows + missing))
            self._grow(rows + missing, 0)
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def free(self, rows: Numbers) -> None:
        """Clear rows, and let others have them."""
        self.clear(rows)
        self._free.extend(int(row) for row in rows)

    def clear(self, rows: Numbers) -> None:
        """Forget what rows remember."""
        self.spatial.clear(rows)
        self.pointers.clear(rows)

    def track(self, rows: Numbers, frames: Numbers, memory: Memory) -> None:
        """Remember predictions, each of its own row and frame."""
        for chosen, places in self._schedule.places_of(frames):
            self.spatial.write(rows[chosen], places, frames[chosen], memory.spatial[torch.from_numpy(chosen)])
        self.track_pointers(rows, frames, memory.pointers)

    def track_pointers(self, rows: Numbers, frames: Numbers, pointers: Tensor) -> None:
        """Remember the pointers of predictions, and nothing else of them."""
        if self._schedule.pointers:
            self.pointers.write(rows, frames % self._schedule.pointers, frames, pointers)

    def condition(self, rows: Numbers, frames: Numbers, memory: Memory) -> None:
        """Remember labels, each of its own row and frame."""
        places = np.array([self._place_of_label(row) for row in rows])
        for ring, values in ((self.spatial, memory.spatial), (self.pointers, memory.pointers)):
            ring.write(rows, places + ring.tracked, frames, values)

    def _place_of_label(self, row: int) -> int:
        """Return the first free place for a labelled frame of a row, or that of its oldest where no more are kept."""
        frames = self.spatial.frames[row, self.spatial.tracked :]
        taken = int((frames != EMPTY).sum())
        if taken == self._most_labelled:
            return int(frames.argmin())
        if taken == len(frames):
            self._grow(0, taken + 1)
            return taken
        return int((frames == EMPTY).argmax())

    def _grow(self, rows: int, labelled: int) -> None:
        self.spatial.grow(rows, labelled)
        self.pointers.grow(rows, labelled)
