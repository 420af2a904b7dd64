"""The IoU of objects in two label maps of one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

LabelMap = npt.NDArray[np.integer]
"""Ids from 0 to 255, ``[height, width]``."""


def object_ious(one: LabelMap, other: LabelMap, object_ids: Sequence[int]) -> list[float]:
    """Return the IoU of each object, 1 of one that is in neither, by counts of ids: one object takes as long as all."""
    areas, others, common = (_areas(labels) for labels in (one, other, np.where(one == other, one, np.uint8(0))))
    found = []
    for object_id in object_ids:
        union = areas[object_id] + others[object_id] - common[object_id]
        found.append(common[object_id] / union if union else 1.0)
    return found


def _areas(labels: LabelMap) -> list[int]:
    """Return how often each value from 0 to 255 occurs."""
    return Image.fromarray(labels.astype(np.uint8, copy=False)).histogram()
