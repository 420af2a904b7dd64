"""The encoder's stage: groups with their vision features, made once and shared by all strategies.

References stay in memory; targets' features go to disk, chunk by chunk, because a 1024 px frame's take 17 MB.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from harness.config import EncodeConfig
from harness.data.group import Frame, Group
from harness.storage import disk_features, disk_predictions
from strategies.models.sam2 import Sam2
from strategies.preprocessing import image_to_pixels, label_map_to_masks
from strategies.sequential import Sequential
from strategies.vocabulary import Predictions, References, VisionFeatures

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class EncodedGroup:
    """A group ready for any strategy: ``targets`` are on the CPU, on disk, in the order of ``group.targets``."""

    group: Group
    references: References
    targets: VisionFeatures


class Workload:
    """Encoded groups, and the reference strategy's predictions for them, made when first asked for."""

    def __init__(self, model: Sam2, groups: Sequence[Group], *, options: EncodeConfig, folder: Path) -> None:
        self.model = model
        self._folder = folder
        self._expected: dict[int | None, list[Predictions]] = {}
        began = time.perf_counter()
        self.groups = [
            _encode_group(model, group, options=options, folder=folder / str(index))
            for index, group in enumerate(groups)
        ]
        self.encode_seconds = time.perf_counter() - began
        """Wall time of the stage, from the first file read to the last feature on disk."""
        self.encoded_frames = sum(len(group.references) + len(group.targets) for group in groups)

    @property
    def largest_group(self) -> int:
        """Most targets of any group."""
        return max(len(group.targets) for group in self.groups)

    def expected(self, objects: int | None) -> list[Predictions]:
        """What `sequential` predicts for every target of every group, for the first ``objects`` objects."""
        if objects not in self._expected:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            self._expected[objects] = [
                _predict_to_disk(self.model, encoded, objects, folder / str(index))
                for index, encoded in enumerate(self.groups)
            ]
        return self._expected[objects]


def limited(references: References, objects: int | None) -> References:
    """The references with the first ``objects`` objects; all where it is None."""
    return references if objects is None else references.first_objects(objects)


def _predict_to_disk(model: Sam2, encoded: EncodedGroup, objects: int | None, folder: Path) -> Predictions:
    stored: Predictions | None = None
    with Sequential(model) as strategy:
        strategy.prepare(limited(encoded.references, objects))
        for index in range(len(encoded.targets)):
            one = strategy.predict(encoded.targets[index : index + 1].to(model.device))
            if stored is None:
                stored = disk_predictions(folder, one, len(encoded.targets))
            stored[index : index + 1].copy_(one)
    assert stored is not None
    return stored


def _encode_group(model: Sam2, group: Group, *, options: EncodeConfig, folder: Path) -> EncodedGroup:
    loaded = list(_prefetch(lambda frame: _load_reference(frame, group, model.side), group.references, options))
    pixels = torch.stack([pixels for pixels, _ in loaded])
    parts = [model.encode_pixels(chunk) for chunk in pixels.split(options.batch)]
    references = References(
        features=VisionFeatures.concatenate(parts),
        masks=torch.stack([masks for _, masks in loaded]),
        object_ids=group.object_ids,
        pixels=pixels,
    )
    return EncodedGroup(group=group, references=references, targets=_encode_targets(model, group, options, folder))


def _encode_targets(model: Sam2, group: Group, options: EncodeConfig, folder: Path) -> VisionFeatures:
    stored: VisionFeatures | None = None
    start = 0
    pictures = _prefetch(lambda frame: image_to_pixels(frame.image(), side=model.side), group.targets, options)
    for pixels in _batched(pictures, options.batch):
        features = model.encode_pixels(torch.stack(pixels))
        if stored is None:
            stored = disk_features(folder, features, len(group.targets))
        stop = start + len(features)
        stored[start:stop].copy_(features)
        start = stop
    assert stored is not None
    return stored


def _load_reference(frame: Frame, group: Group, side: int) -> tuple[Tensor, Tensor]:
    assert frame.labels is not None
    labels: np.ndarray = frame.labels()
    return image_to_pixels(frame.image(), side=side), label_map_to_masks(labels, group.object_ids, side=side)


def _prefetch(load: Callable[[Frame], Item], frames: Sequence[Frame], options: EncodeConfig) -> Iterator[Item]:
    """``load`` of every frame, in order, by worker threads that stay at most two batches ahead.

    Threads, because decoding and resizing release the interpreter's lock, and an error keeps its type on the way here.
    """
    with ThreadPoolExecutor(options.workers) as pool:
        ahead: deque[Future[Item]] = deque()
        for frame in frames:
            ahead.append(pool.submit(load, frame))
            if len(ahead) > 2 * options.batch:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _batched(items: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
