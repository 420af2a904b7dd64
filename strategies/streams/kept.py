"""How much memory tensors take."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


def kept_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes that are allocated for tensors, each allocation once, however many views there are of it."""
    allocated = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(allocated.values())
