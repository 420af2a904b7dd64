"""The dtypes that a model may compute in, and the process's settings that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from strategies.errors import UnavailableError, one_of

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What tensors of matrix products hold; tf32 is fp32 of which a GPU's matrix units read 10 bits of the mantissa."""

TF32_CAPABILITY = (8, 0)


def check_dtype(dtype: str, device: torch.device) -> None:
    """Raise UserError where there is no such dtype, UnavailableError where the device does not have it."""
    check_dtype_name(dtype)
    if dtype != "tf32":
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise UnavailableError(
            f"dtype=tf32 needs a CUDA GPU of compute capability 8.0 or more, which {device} is not: use dtype=fp32"
        )


def check_dtype_name(dtype: str) -> None:
    """Raise UserError where there is no such dtype on any device."""
    one_of("dtype", dtype, DTYPES)


@contextmanager
def computing_in(dtype: str, device: torch.device) -> Iterator[None]:
    """Compute in inference mode, and in the dtype.

    Autocast is on where ``dtype`` is narrower than fp32, and TF32 where it is asked for and only there.
    """
    kind = DTYPES[dtype]
    reduced = kind != torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(device.type, kind, enabled=reduced),
        _tf32(dtype == "tf32"),
    ):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Set whether products and convolutions of fp32 tensors may use TF32 on CUDA GPUs, for the whole process."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
