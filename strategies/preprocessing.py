"""Conversion of images and masks to the model's square input.

The HF processors do the same through torchvision, which has no CPU build on every platform; Pillow and torch give the
same numbers: bilinear with antialias to a square, then the model's mean and deviation.
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

    It is less ``mean`` and divided by ``std``: a model's `pixels` gives its own.
    """
    rgb = image.convert("RGB") if isinstance(image, Image.Image) else image
    array = torch.from_numpy(np.array(rgb, dtype=np.uint8)).permute(2, 0, 1).float().div_(255)
    if array.shape[-2:] != (side, side):
        array = F.interpolate(array[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return (array - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def label_map_to_masks(label_map: np.ndarray, object_ids: tuple[int, ...], *, side: int) -> Tensor:
    """Return bool ``[O, side, side]`` of an integer label map ``[height, width]``; ids it lacks give empty masks."""
    masks = torch.from_numpy(np.stack([label_map == object_id for object_id in object_ids])).float()
    if masks.shape[-2:] != (side, side):
        masks = F.interpolate(masks[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return masks >= 0.5
