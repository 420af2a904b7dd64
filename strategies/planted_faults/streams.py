"""Faults of streams: memories at the wrong time, of the wrong pair, or of a video that has ended.

Each is `stream_batched` with one mistake, and calls itself exact, as a mistaken strategy would.
"""

from __future__ import annotations

import copy
from dataclasses import asdict

import numpy as np
from torch import Tensor

from strategies.components.memory_bank import MemoryBank
from strategies.models.tracker import Tracker
from strategies.streams.batched import StreamBatched
from strategies.streams.memories import Memories
from strategies.streams.schedule import EMPTY, UNSEEN, Numbers, Schedule
from strategies.streams.visible import Visible


class _OldestFirst(Schedule):
    def offsets(self, now: Numbers, frames: Numbers) -> Numbers:
        offsets = super().offsets(now, frames)
        return np.where(offsets > 0, self.memories + 1 - offsets, offsets)


class RingReversed(StreamBatched):
    """The newest memory has the temporal position of the oldest, and so on."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._visible = Visible(model, _OldestFirst(**asdict(self._schedule)))


class _OneLater(Schedule):
    def pointer_ages(self, now: Numbers, frames: Numbers) -> Numbers:
        ages = super().pointer_ages(now, frames)
        return np.where(ages == UNSEEN, UNSEEN, ages + 1)


class PointersOneLate(StreamBatched):
    """Every pointer is said to be one frame older than it is."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._visible = Visible(model, _OneLater(**asdict(self._schedule)))


class _OneFewer(Schedule):
    def pointer_ages(self, now: Numbers, frames: Numbers) -> Numbers:
        ages = super().pointer_ages(now, frames)
        ages[:, : self.pointers][ages[:, : self.pointers] == 1] = UNSEEN
        return ages


class NewestPointerMissing(StreamBatched):
    """The pointer of the frame before is not seen."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._visible = Visible(model, _OneFewer(**asdict(self._schedule)))


class _OfTheNext(Visible):
    def bank(self, memories: Memories, rows: Numbers, now: Numbers) -> MemoryBank:
        return super().bank(memories, np.roll(rows, 1), np.roll(now, 1))


class MemoriesOfAnother(StreamBatched):
    """Every pair sees the memories of the pair before it."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._visible = _OfTheNext(model, self._schedule)


class _NeverCleared(Memories):
    def clear(self, rows: Numbers) -> None:
        pass


class SlotNotCleared(StreamBatched):
    """A pair that takes the row of one that has ended sees its labelled frames."""

    def _release(self) -> None:
        super()._release()
        self._memories = _NeverCleared(self.model, self._schedule, labelled=self._conditioning)


class _LabelsNotSeen(Schedule):
    def offsets(self, now: Numbers, frames: Numbers) -> Numbers:
        offsets = super().offsets(now, frames)
        newest = frames[:, self.places :].argmax(axis=1) + self.places
        several = (frames[:, self.places :] != EMPTY).sum(axis=1) > 1
        offsets[several, newest[several]] = UNSEEN
        return offsets


class NewestLabelMissing(StreamBatched):
    """Where an object has been labelled several times, the newest label's memory is not seen."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._visible = Visible(model, _LabelsNotSeen(**asdict(self._schedule)))


class PredictionsAsLabels(StreamBatched):
    """Predicted masks enter memory as labels do, by their signs (DESIGN section 3, trap 13)."""

    def __init__(self, model: Tracker) -> None:
        wrong = copy.copy(model)

        def tracked_memory(embedding: Tensor, logits: Tensor, present: Tensor) -> Tensor:
            return model.tracked_memory(embedding, logits.sign() * logits.abs().max(), present)

        wrong.tracked_memory = tracked_memory  # type: ignore[method-assign]
        super().__init__(wrong)


STREAM_FAULTS: tuple[type[StreamBatched], ...] = (
    RingReversed,
    PointersOneLate,
    NewestPointerMissing,
    MemoriesOfAnother,
    SlotNotCleared,
    NewestLabelMissing,
    PredictionsAsLabels,
)
"""All of them show where videos follow each other in a slot, and objects are labelled several times."""
