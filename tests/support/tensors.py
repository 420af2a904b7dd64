"""What tensors hold."""

from __future__ import annotations

import gc

from torch import Tensor
from torch._subclasses import FakeTensor

from strategies import VisionFeatures

RELATIVE = 1e-5
"""How far features of the same frames may differ in fp32, relative to the largest."""


def new_tensor_bytes() -> int:
    """What the tensors hold that were made since, each storage once; those of torch's compiler hold nothing."""
    gc.collect()
    kinds = ((each, type(each)) for each in gc.get_objects())
    tensors = [each for each, kind in kinds if issubclass(kind, Tensor) and not issubclass(kind, FakeTensor)]
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def difference(found: VisionFeatures, expected: VisionFeatures) -> float:
    """How far features are apart, relative to the largest of their level."""
    assert len(found) == len(expected)
    pairs = [(getattr(found, name), level) for name, level in vars(expected).items()]
    return max(float((mine - theirs).abs().max() / theirs.abs().max()) for mine, theirs in pairs)
