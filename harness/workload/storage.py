"""Tensors on disk (TMPDIR's) that behave like tensors, so that a run's size is bounded by the disk, not by memory."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.store.atomic import write_whole
from strategies.errors import UserError
from strategies.vocabulary import Predictions, VisionFeatures

_SHAPES = "shapes.json"


def disk_tensor(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a zeroed tensor mapped to a new file; pages are read and written as they are touched.

    Raises UserError where the disk has no room. The room is taken at once, because a disk that is full at a later write
    kills the process.
    """
    size = math.prod(shape) * dtype.itemsize
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise no_room(path.parent, f"{size / 1e9:.1f} GB of the targets' features", cause=error.strerror) from error
    return _mapped(path, shape, dtype)


def no_room(folder: Path, what: str, *, cause: str | None) -> UserError:
    """Return the error of features for which the disk of TMPDIR has no room."""
    return UserError(
        f"{folder} has no room for {what} ({cause}); lower targets= or data.groups=, or point TMPDIR to a larger disk"
    )


def disk_features(folder: Path, like: VisionFeatures, count: int) -> VisionFeatures:
    """Make room on disk for the features of ``count`` frames of the same shapes as ``like``."""
    return VisionFeatures(**_rooms(folder, count, embedding=like.embedding, stride4=like.stride4, stride8=like.stride8))


def stored_features(folder: Path) -> VisionFeatures:
    """Open what `disk_features` made room for, in this process or another."""
    return VisionFeatures(**_opened(folder))


def read_features(folder: Path, index: int) -> VisionFeatures:
    """Read one frame of what `disk_features` made room for.

    Nothing is mapped, because the pages of a map that have been read count as memory of the process.
    """
    layout = _layout(folder)

    def level(name: str) -> Tensor:
        dtype, (_, *shape) = layout[name]
        size = math.prod(shape) * dtype.itemsize
        content = np.fromfile(folder / name, dtype=np.uint8, count=size, offset=index * size)
        return torch.from_numpy(content).view(dtype).view(1, *shape)

    return VisionFeatures(embedding=level("embedding"), stride4=level("stride4"), stride8=level("stride8"))


def disk_predictions(folder: Path, like: Predictions, count: int) -> Predictions:
    """Make room on disk for the predictions of ``count`` targets for the objects of ``like``."""
    rooms = _rooms(folder, count, logits=like.logits, object_scores=like.object_scores, ious=like.ious)
    return Predictions(**rooms, object_ids=like.object_ids)


def stored_predictions(folder: Path, object_ids: tuple[int, ...]) -> Predictions:
    """Open what `disk_predictions` made room for, in this process or another."""
    return Predictions(**_opened(folder), object_ids=object_ids)


def _rooms(folder: Path, count: int, **samples: Tensor) -> dict[str, Tensor]:
    shapes = {name: (count, *sample.shape[1:]) for name, sample in samples.items()}
    layout = {name: [str(samples[name].dtype).removeprefix("torch."), shape] for name, shape in shapes.items()}
    write_whole(folder / _SHAPES, json.dumps(layout))
    return {name: disk_tensor(folder / name, shape, samples[name].dtype) for name, shape in shapes.items()}


def _opened(folder: Path) -> dict[str, Tensor]:
    return {name: _mapped(folder / name, shape, dtype) for name, (dtype, shape) in _layout(folder).items()}


def _layout(folder: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Return the dtype and the shape of each file, as `_rooms` wrote them."""
    layout = json.loads((folder / _SHAPES).read_text(encoding="utf-8"))
    return {name: (getattr(torch, dtype), tuple(shape)) for name, (dtype, shape) in layout.items()}


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
