"""Label maps at a picture's size, from masks at the model's resolution, in the memory of one picture.

All objects enlarged at once take four bytes for each pixel and object: 1.7 GB for 18 objects on 24 megapixels, and
twice that while the highest is looked for. Here a running maximum goes over the objects, in bands of columns that a
cache holds, and skips an object where none of its logits is positive. Every bit stays as it was: bilinear enlarging
goes over the columns first and over the rows of the result afterwards, a column's rows know nothing of its neighbours,
and weights are not negative, so no positive logit comes of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

BAND = 256
"""Columns of a band, at the least."""
SMALL = 128
"""Pictures of at most so many rows and columns together, which torch enlarges by other arithmetic."""
OTHERWISE = 3
"""So many channels, too, torch enlarges by other arithmetic, whatever the size."""


def label_map(logits: Tensor, object_ids: Sequence[int], *, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return ids of the highest logits ``[O, H, W]`` enlarged to ``size`` = (height, width); 0 where none is positive.

    The first of equals wins. dtype: that of the result, which must hold the ids.
    """
    height, width = size
    plain = logits.device.type == "cpu" and logits.is_contiguous() and bool(logits.isfinite().all())
    if not plain or height + width <= SMALL:
        return _at_once(logits, object_ids, size=size, dtype=dtype)
    labels = torch.zeros(size, dtype=dtype)
    in_one_step = len(logits) == OTHERWISE
    wide = enlarged(logits, size if in_one_step else (logits.shape[1], width))
    count = max(1, width // BAND)
    edges = [width * number // count for number in range(count + 1)]
    for left, right in pairwise(edges):
        band = wide[:, :, left:right]
        best: Tensor | None = None
        for index in band.flatten(1).amax(dim=1).gt(0).nonzero().flatten().tolist():
            one = band[index : index + 1]
            plane = (one if in_one_step else enlarged(one, (height, right - left)))[0]
            won = plane > (0 if best is None else best)
            labels[:, left:right].masked_fill_(won, object_ids[index])
            best = plane.clamp(min=0) if best is None else torch.maximum(best, plane, out=best)
    return labels


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``[O, H, W]`` as ``[O, height, width]``, bilinear."""
    return F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


def _at_once(logits: Tensor, object_ids: Sequence[int], *, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    best, index = enlarged(logits, size).max(dim=0)
    ids = torch.tensor(object_ids, dtype=dtype, device=index.device)
    return torch.where(best > 0, ids[index], torch.zeros((), dtype=dtype, device=index.device))
