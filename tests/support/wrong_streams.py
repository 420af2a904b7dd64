"""Strategies for streams that give wrong masks, cheat, or answer something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from strategies import Predictions, Sam2
from strategies.streams.batched import StreamBatched
from strategies.streams.vocabulary import Labels, StreamFrame

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
