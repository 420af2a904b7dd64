"""The inputs of timed blocks: a fixed set of a group's targets, never twice alike.

A strategy that caches its outputs would be fast and, on repeated inputs, right. So each turn's inputs differ: the order
of the targets rotates, and where the expected masks are known for any input (the baseline strategy predicts them in the
same round), each feature map is moved around its edges. Moving keeps every feature vector as the encoder made it, and
changes the masks so much that a cached output is wrong in any dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.options.config import TimingConfig
from harness.workload.encode import EncodedGroup
from strategies.vocabulary import Predictions, VisionFeatures

SCALE_STEP = 0.01
"""When all ways to move a map have been used, they are used again with features larger by this share."""


class TargetBlock:
    """The first ``count`` targets of a group in batches of ``batch``, on the device when a block begins."""

    def __init__(self, encoded: EncodedGroup, *, count: int, batch: int, device: torch.device, moving: bool) -> None:
        self.count = count
        self._targets = encoded.targets[:count]
        self._batch = batch
        self._device = device
        self.moving = moving

    def inputs(self, turn: int) -> list[VisionFeatures]:
        """Return the batches of one turn."""
        features = self.features(turn, slice(0, self.count))
        return [features[first : first + self._batch] for first in range(0, self.count, self._batch)]

    def features(self, turn: int, chosen: slice) -> VisionFeatures:
        """Return the targets at some places of a turn."""
        start = turn % self.count
        parts = [
            self._targets[start + chosen.start : start + chosen.stop],
            self._targets[max(0, start + chosen.start - self.count) : max(0, start + chosen.stop - self.count)],
        ]
        ordered = VisionFeatures.concatenate(parts).to(self._device)
        return moved(ordered, turn + 1) if self.moving else ordered

    def expected(self, turn: int, predictions: Predictions) -> Predictions:
        """Return the group's predictions in the order of a turn whose maps are not moved."""
        start = turn % self.count
        of_block = predictions[: self.count]
        return Predictions.concatenate([of_block[start:], of_block[:start]])


def moved(features: VisionFeatures, step: int) -> VisionFeatures:
    """Move the feature maps around their edges to the ``step``-th of their places; each step gives other features."""
    height, width = features.embedding.shape[-2:]
    lap, place = divmod(step, height * width)
    down, right = divmod(place, width)

    def move(level: Tensor) -> Tensor:
        finer = level.shape[-1] // width
        return level.roll((down * finer, right * finer), dims=(-2, -1)) * (1 + SCALE_STEP * lap)

    return VisionFeatures(
        embedding=move(features.embedding), stride4=move(features.stride4), stride8=move(features.stride8)
    )


def targets_per_block(
    *, targets: int, batch: int, seconds_per_batch: float, bytes_per_target: int, options: TimingConfig
) -> int:
    """Return how many of a group's targets a block passes over: whole batches, at least one, or all targets.

    seconds_per_batch: the slower side's. bytes_per_target: those of inputs and outputs, which stay on the device.
    """
    by_time = options.block_seconds / seconds_per_batch if seconds_per_batch > 0 else targets
    by_memory = options.block_mb * 2**20 / (bytes_per_target * batch)
    batches = max(1, int(min(by_time, by_memory, targets)))
    return min(targets, batches * batch)
