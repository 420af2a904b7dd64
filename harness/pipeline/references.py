"""A group's references as the network takes them, read one at a time: large pictures are never there together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.data.group import Frame
from harness.pipeline.plan import Work
from strategies.models.tracker import Tracker
from strategies.preprocessing import label_map_to_masks
from strategies.vocabulary import References, VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A reference as the network takes it, fp32 ``[3, S, S]``; masks are bool ``[O, S, S]``."""

    pixels: Tensor
    masks: Tensor


def read_reference(work: Work, frame: Frame, model: Tracker) -> Labels:
    """Read a reference. Raises UserError where one of its files can't be read."""
    assert frame.labels is not None
    labels: np.ndarray = frame.labels()
    masks = label_map_to_masks(labels, work.object_ids, side=model.side)
    return Labels(pixels=model.pixels(frame.image()), masks=masks)


def encoded(work: Work, read: Sequence[Labels], encode: Callable[[Tensor], VisionFeatures]) -> References:
    """Return references that were read, with the features that an encoder makes of them."""
    pixels = torch.stack([one.pixels for one in read])
    return References(
        features=encode(pixels),
        masks=torch.stack([one.masks for one in read]),
        object_ids=work.object_ids,
        pixels=pixels,
    )


def references_of(work: Work, model: Tracker) -> References:
    """Read and encode a group's references, eagerly. Raises UserError where one can't be read."""
    read = [read_reference(work, frame, model) for frame in work.group.references]
    return encoded(work, read, model.encode_pixels)
