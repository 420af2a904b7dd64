"""Strategies for streams that give wrong masks, cheat, or answer something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from strategies import Predictions, Sam2
from strategies.planted_faults.streams import RingReversed
from strategies.streams.batched import StreamBatched
from strategies.streams.memories import Memory
from strategies.streams.schedule import Numbers
from strategies.streams.vocabulary import Labels, StreamFrame, StreamReferences
from strategies.vocabulary import VisionFeatures

Frames = Mapping[str, StreamFrame]
Given = Mapping[str, Labels | None]


class Swapping(StreamBatched):
    """Calls itself exact and gives each object the masks of another."""

    def _step(self, frames: Frames, labels: Given) -> dict[str, Predictions]:
        found = super()._step(frames, labels)
        return {video: replace(one, logits=one.logits.flip(1)) for video, one in found.items()}


class Inexact(Swapping):
    """The same, which does not call itself exact."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self.exact = False


class Forgetting(StreamBatched):
    """Calls itself exact and remembers one frame less than the network."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options | {"memory_frames": 6})
        self.exact = True


class Silent(StreamBatched):
    """Leaves out the last of several videos."""

    def _step(self, frames: Frames, labels: Given) -> dict[str, Predictions]:
        found = super()._step(frames, labels)
        if len(found) > 1:
            found.popitem()
        return found


class Cached(StreamBatched):
    """Keeps its answers by video and frame number, whatever the picture."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._kept: dict[tuple[str, int], Predictions] = {}

    def _step(self, frames: Frames, labels: Given) -> dict[str, Predictions]:
        known = {video: self._kept.get((video, frame.number)) for video, frame in frames.items()}
        if all(known.values()):
            return {video: one for video, one in known.items() if one is not None}
        found = super()._step(frames, labels)
        self._kept |= {(video, frames[video].number): one for video, one in found.items()}
        return found


class Scribbling(StreamBatched):
    """Writes into the features that it is given."""

    def _step(self, frames: Frames, labels: Given) -> dict[str, Predictions]:
        found = super()._step(frames, labels)
        for frame in frames.values():
            frame.features.stride4.zero_()
        return found


class Pointerless(StreamBatched):
    """Calls itself exact and remembers no pointer of what it predicts, which hardly moves an outline."""

    def _track_at_once(self, features: VisionFeatures, pairs: Any) -> tuple[Tensor, Tensor, Tensor]:
        kept = self._memories.track

        def track(rows: Numbers, frames: Numbers, memory: Memory) -> None:
            kept(rows, frames, Memory(spatial=memory.spatial, pointers=torch.zeros_like(memory.pointers)))

        with patch.object(self._memories, "track", track):
            return super()._track_at_once(features, pairs)


class PointerlessWhenTimed(Pointerless):
    """The same from the third time on that a video of that name begins, when masks have been checked."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self._times: Counter[str] = Counter()

    def _begin(self, references: StreamReferences) -> None:
        super()._begin(references)
        self._times[references.video] += 1

    def _track_at_once(self, features: VisionFeatures, pairs: Any) -> tuple[Tensor, Tensor, Tensor]:
        checked = max(self._times.values()) < 3
        return (StreamBatched if checked else Pointerless)._track_at_once(self, features, pairs)


class Wearying(StreamBatched):
    """Calls itself exact and takes the oldest memory for the newest from frame 15 on."""

    def _track_at_once(self, features: VisionFeatures, pairs: Any) -> tuple[Tensor, Tensor, Tensor]:
        visible = RingReversed(self.model)._visible if pairs.numbers.max() >= 15 else self._visible
        with patch.object(self, "_visible", visible):
            return super()._track_at_once(features, pairs)


class SilentInexact(Silent):
    """Leaves out a video, and does not call itself exact."""

    def __init__(self, model: Sam2, **options: Any) -> None:
        super().__init__(model, **options)
        self.exact = False


class Chatty(StreamBatched):
    """Answers for a video that there is not, too."""

    def _step(self, frames: Frames, labels: Given) -> dict[str, Predictions]:
        found = super()._step(frames, labels)
        return found | {"another": next(iter(found.values()))}
