"""The words of the field as data: features, references, predictions.

Shape letters used across the package: R references, T targets, O objects, S the side of the model's square input in
pixels, h x w the image embedding, H x W the low-resolution mask (four times h x w), C the hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.label_maps import enlarged, label_map

VOID = 255
"""Value of label maps for pixels that belong to nothing known, not even to the background: no score counts them."""


@dataclass(frozen=True, kw_only=True)
class VisionFeatures:
    """The output of the vision encoder for N frames; every strategy starts from it.

    embedding: ``[N, C, h, w]``, the level that memory attention works on: of stride 16, or 14 in SAM3's tracker.
    stride4: ``[N, C/8, 4h, 4w]`` and stride8: ``[N, C/4, 2h, 2w]``, already projected for the mask decoder, with a
    quarter and half of that stride.
    """

    embedding: Tensor
    stride4: Tensor
    stride8: Tensor

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def __getitem__(self, index: slice | Tensor) -> VisionFeatures:
        return self._each(lambda level: level[index])

    def to(self, device: torch.device | str) -> VisionFeatures:
        return self._each(lambda level: level.to(device))

    def clone(self) -> VisionFeatures:
        return self._each(torch.clone)

    def copy_(self, other: VisionFeatures) -> None:
        """Overwrite with the features of as many frames."""
        for mine, theirs in zip(self._levels, other._levels, strict=True):
            mine.copy_(theirs)

    @staticmethod
    def concatenate(parts: list[VisionFeatures]) -> VisionFeatures:
        """Join the features of consecutive batches of frames."""
        embedding, stride4, stride8 = (torch.cat(levels) for levels in zip(*(p._levels for p in parts), strict=True))
        return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)

    @property
    def _levels(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.embedding, self.stride4, self.stride8

    def _each(self, function: Callable[[Tensor], Tensor]) -> VisionFeatures:
        embedding, stride4, stride8 = map(function, self._levels)
        return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)


@dataclass(frozen=True, kw_only=True)
class References:
    """The labelled frames of one group.

    features: of the R reference frames.
    masks: bool ``[R, O, S, S]``; an object that is absent from a reference has an empty mask there.
    object_ids: O distinct positive ids, in the order of the masks; they come back in every prediction.
    pixels: ``[R, 3, S, S]``, normalised; needed only by strategies that encode the references again.
    """

    features: VisionFeatures
    masks: Tensor
    object_ids: tuple[int, ...]
    pixels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.masks.dim() != 4 or self.masks.dtype != torch.bool:
            raise ValueError(f"masks must be bool [R, O, S, S], not {self.masks.dtype} {list(self.masks.shape)}")
        frames, objects = self.masks.shape[:2]
        if frames != len(self.features) or objects != len(self.object_ids):
            raise ValueError(
                f"masks {tuple(self.masks.shape)} do not fit {len(self.features)} reference frames "
                f"and {len(self.object_ids)} object ids"
            )
        if frames == 0 or objects == 0:
            raise ValueError("a group needs at least one reference frame and one object")
        if len(set(self.object_ids)) != objects:
            raise ValueError(f"object ids must differ: {self.object_ids}")
        if min(self.object_ids) < 1:
            raise ValueError(f"object ids must be positive, because 0 is the background: {self.object_ids}")

    def __len__(self) -> int:
        return self.masks.shape[0]

    def first_objects(self, count: int) -> References:
        """Return the same frames with only the first ``count`` objects."""
        return References(
            features=self.features,
            masks=self.masks[:, :count],
            object_ids=self.object_ids[:count],
            pixels=self.pixels,
        )


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The masks of T targets for the O objects of a group, at the model's low resolution.

    logits: fp32 ``[T, O, H, W]``; above 0 is object. A closed gate (score <= 0) sets them all to -1024.
    object_scores: fp32 ``[T, O]``; above 0 the object is in the frame.
    ious: fp32 ``[T, O, K]``; the decoder's predicted IoU of each candidate mask, of which the best was taken.
    """

    logits: Tensor
    object_scores: Tensor
    ious: Tensor
    object_ids: tuple[int, ...]

    def __len__(self) -> int:
        return self.logits.shape[0]

    def __getitem__(self, index: slice) -> Predictions:
        return self._each(lambda values: values[index])

    def cpu(self) -> Predictions:
        return self._each(torch.Tensor.cpu)

    def copy_(self, other: Predictions) -> None:
        """Overwrite with the predictions of as many targets for the same objects."""
        for mine, theirs in zip(self._values, other._values, strict=True):
            mine.copy_(theirs)

    @property
    def picks(self) -> Tensor:
        """The candidate that was taken, int64 ``[T, O]``; the first of equals, as the network does."""
        return self.ious.argmax(dim=-1)

    @property
    def pick_margins(self) -> Tensor:
        """The predicted IoU of the best candidate less that of the second best, fp32 ``[T, O]``."""
        best, second = self.ious.topk(2, dim=-1).values.unbind(dim=-1)
        return best - second

    @property
    def _values(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.logits, self.object_scores, self.ious

    def _each(self, function: Callable[[Tensor], Tensor]) -> Predictions:
        logits, scores, ious = map(function, self._values)
        return Predictions(logits=logits, object_scores=scores, ious=ious, object_ids=self.object_ids)

    @staticmethod
    def concatenate(parts: list[Predictions]) -> Predictions:
        """Join the predictions of the same objects for consecutive batches of targets."""
        return Predictions(
            logits=torch.cat([part.logits for part in parts]),
            object_scores=torch.cat([part.object_scores for part in parts]),
            ious=torch.cat([part.ious for part in parts]),
            object_ids=parts[0].object_ids,
        )

    def masks(self, target: int, *, size: tuple[int, int]) -> Tensor:
        """Return the masks of one target, bool ``[O, height, width]``, upsampled to ``size`` = (height, width)."""
        return enlarged(self.logits[target], size) > 0

    def label_map(self, target: int, *, size: tuple[int, int], dtype: torch.dtype = torch.int32) -> Tensor:
        """Return one target's object ids (the highest logit wins), 0 for none, as ``[height, width]``.

        dtype: uint8 holds ids of at most 255 in a quarter of the memory.
        """
        return label_map(self.logits[target], self.object_ids, size=size, dtype=dtype)
