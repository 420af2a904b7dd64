"""Batches of one size, for what is compiled or captured once for each shape."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from strategies.vocabulary import VisionFeatures

Outputs = tuple[Tensor, Tensor, Tensor]
"""Logits ``[T, O, H, W]``, object scores ``[T, O]`` and predicted IoUs ``[T, O, K]`` of some targets and objects."""

Chunk = Callable[[VisionFeatures, slice], Outputs]
"""It computes the outputs of targets and a slice of the objects."""


class Padded:
    """A chunk that always runs at the size of the largest one so far.

    Fewer targets are filled up with copies of the last one, whose outputs are cut off: the last batch of a group, and
    the last chunk of a batch, cost as much as a full one and need no shape of their own.
    """

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._size = 0

    def __call__(self, targets: VisionFeatures, objects: slice) -> Outputs:
        self._size = max(self._size, len(targets))
        logits, scores, ious = self._chunk(filled_up(targets, self._size), objects)
        count = len(targets)
        return logits[:count], scores[:count], ious[:count]


def filled_up(targets: VisionFeatures, size: int) -> VisionFeatures:
    """Return ``size`` targets, of which the last one is repeated.

    They are dense in memory, because compiled code is particular about strides, too.
    """
    copies = [targets[-1:]] * (size - len(targets))
    filled = VisionFeatures.concatenate([targets, *copies]) if copies else targets
    embedding, stride4, stride8 = (level.contiguous() for level in (filled.embedding, filled.stride4, filled.stride8))
    return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)
