"""Keys and values in 8 bits, with a scale for each token: the option ``kv``.

``int8`` are whole numbers of up to 127, ``fp8`` are e4m3 with 3 bits of mantissa. A token's largest value becomes the
largest of the kind. bf16 and fp16 hold every value of both as it is, so a kernel can take products of what is stored
and multiply by the scales afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from strategies.errors import UnavailableError

KV = Literal["own", "int8", "fp8"]
KVS: tuple[KV, ...] = get_args(KV)

BITS_8: dict[KV, torch.dtype] = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
LARGEST: dict[KV, float] = {"int8": 127.0, "fp8": torch.finfo(torch.float8_e4m3fn).max}
FP8_CAPABILITY = (8, 9)
"""The compute capability from which on Triton converts e4m3."""


def check_kv(kv: KV, device: torch.device) -> None:
    """Raise UnavailableError where the kernel can't read keys and values of so many bits on the device."""
    if kv == "fp8" and device.type == "cuda" and torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise UnavailableError(
            "kv=fp8 needs a GPU of compute capability 8.9 or more for its kernel, and the "
            f"{torch.cuda.get_device_name(device)} has {'.'.join(map(str, torch.cuda.get_device_capability(device)))}: "
            "use kv=int8"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """Keys or values as they are stored: ``[..., M, d]``, and fp32 scales ``[..., M]`` where they are in 8 bits."""

    values: Tensor
    scales: Tensor | None = None

    def __getitem__(self, chosen: slice) -> Tokens:
        return Tokens(values=self.values[chosen], scales=None if self.scales is None else self.scales[chosen])

    @property
    def nbytes(self) -> int:
        """The bytes that they take, scales included."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """Return them as numbers of that dtype."""
        if self.scales is None:
            return self.values.to(dtype)
        return (self.values.float() * self.scales[..., None]).to(dtype)


def stored(values: Tensor, kv: KV) -> Tokens:
    """Return tokens ``[..., M, d]`` as they are, or rounded to 8 bits by a scale for each."""
    if kv == "own":
        return Tokens(values=values)
    largest = values.abs().amax(dim=-1).float()
    scales = (largest / LARGEST[kv]).clamp(min=torch.finfo(torch.float32).tiny)  # Tokens of nothing stay so.
    narrow = values.float() / scales[..., None]
    return Tokens(values=(narrow.round() if kv == "int8" else narrow).to(BITS_8[kv]), scales=scales)
