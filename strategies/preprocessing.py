"""Images and masks to the model's square input.

The HF processors do the same through torchvision, which has no CPU build on every platform; Pillow and torch give the
same numbers: bilinear with antialias to a square, then the ImageNet mean and deviation.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def image_to_pixels(image: Image.Image | np.ndarray, *, side: int) -> Tensor:
    """fp32 ``[3, side, side]`` from a picture of any size (PIL, or uint8 ``[height, width, 3]``)."""
    rgb = image.convert("RGB") if isinstance(image, Image.Image) else image
    array = torch.from_numpy(np.array(rgb, dtype=np.uint8)).permute(2, 0, 1).float().div_(255)
    if array.shape[-2:] != (side, side):
        array = F.interpolate(array[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return (array - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def label_map_to_masks(label_map: np.ndarray, object_ids: tuple[int, ...], *, side: int) -> Tensor:
    """Bool ``[O, side, side]`` from an integer label map ``[height, width]``; ids it lacks give empty masks."""
    masks = torch.from_numpy(np.stack([label_map == object_id for object_id in object_ids])).float()
    if masks.shape[-2:] != (side, side):
        masks = F.interpolate(masks[None], size=(side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return masks >= 0.5
