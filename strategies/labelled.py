"""Checks of labelled pictures, before they become references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from strategies.errors import UserError
from strategies.vocabulary import VOID


def check_pairs(images: Sequence[Image.Image | np.ndarray], label_maps: Sequence[np.ndarray]) -> None:
    """Raise UserError where pictures and label maps (integers ``[height, width]``) do not belong together."""
    if len(images) == 0:
        raise UserError("images holds no picture: give at least one, with its label map")
    if len(images) != len(label_maps):
        raise UserError(
            f"images holds {len(images)} pictures and label_maps holds {len(label_maps)}: give one for each picture"
        )
    for index, (image, label_map) in enumerate(zip(images, label_maps, strict=True)):
        size = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
        if label_map.shape != size:
            raise UserError(
                f"label_maps[{index}] has shape {label_map.shape}, but its picture images[{index}] has height and "
                f"width {size}: give one integer for each pixel of the picture"
            )
        if label_map.dtype.kind not in "biu":
            raise UserError(f"label_maps[{index}] holds {label_map.dtype}: give integers, 0 for background")


def check_object_ids(object_ids: tuple[int, ...], found: set[int]) -> None:
    """Raise UserError where the chosen ids are not different positive ones that the label maps hold (``found``)."""
    if not object_ids:
        raise UserError("the reference masks hold no object: paint each object with its id, 1 to 254")
    if min(object_ids) < 1 or len(set(object_ids)) != len(object_ids):
        raise UserError(f"object_ids={object_ids} must be different numbers from 1 on; 0 is the background")
    absent = [object_id for object_id in object_ids if object_id not in found]
    if absent:
        there = ", ".join(map(str, sorted(found - {0, VOID}))) or "none"
        raise UserError(
            f"object_ids={object_ids}: no label map holds {', '.join(map(str, absent))}; leave out what no reference "
            f"shows (the label maps hold {there})"
        )
