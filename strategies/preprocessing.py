"""Conversion of images and masks to the model's square input, to the bit as the HF processors do it.

They need torchvision, which has no CPU build on every platform. A picture is resized as uint8, bilinear with
antialias, and loses the model's mean and deviation after that. A mask is resized in floating point and cut at one half.

On a GPU and on a CPU without AVX2 or NEON, HF itself resizes pictures in floating point and rounds in the end, which
moves some values by one level of 255. Ours are the same everywhere.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Channels = tuple[float, float, float]
"""A value each for red, green and blue, which go from 0 to 1."""


def image_to_pixels(image: Image.Image | np.ndarray, *, side: int, mean: Channels, std: Channels) -> Tensor:
    """Return fp32 ``[3, side, side]`` of a picture of any size (PIL, or uint8 ``[height, width, 3]``).

    It is less ``mean`` and divided by ``std``: a model's `pixels` gives its own. Transparency is dropped.
    """
    rgb = image.convert("RGB") if isinstance(image, Image.Image) else image
    writable = np.require(rgb, np.uint8, ("C", "W"))  # torch takes no other, and most pictures need no copy.
    levels = _to_square(torch.from_numpy(writable).permute(2, 0, 1), side)
    pixels = levels.to(torch.float32, memory_format=torch.contiguous_format)
    offset, scale = (torch.tensor(values)[:, None, None] * 255 for values in (mean, std))
    return pixels.sub_(offset).div_(scale)


def label_map_to_masks(label_map: np.ndarray, object_ids: tuple[int, ...], *, side: int) -> Tensor:
    """Return bool ``[O, side, side]`` of an integer label map ``[height, width]``; ids it lacks give empty masks."""
    # One at a time: all objects of a large picture, in floating point, would take many times its memory.
    masks = (torch.from_numpy(label_map == object_id)[None].float() for object_id in object_ids)
    return torch.cat([_to_square(mask, side) >= 0.5 for mask in masks])


def _to_square(channels: Tensor, side: int) -> Tensor:
    """Resize ``[C, height, width]``; what is uint8 stays so, rounded."""
    if channels.shape[-2:] == (side, side):
        return channels
    return F.interpolate(channels[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
