"""Axial rotary encoding in Triton: a whole tensor at once, or a tile inside another kernel.

It is that of `components.memory_attention.rotate` with half of its tables: the two columns of a pair share their angle.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ELEMENTS = 4096
"""Values of one program: enough to keep loads in flight, few enough to leave every value in a register."""


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate contiguous ``[..., N, d]`` by fp32 tables ``[L, d/2]``, computing in fp32; returns x's dtype.

    Row n takes row ``n % L`` of the tables.
    """
    out = torch.empty_like(x)
    rows, width = x.shape[-2:]
    block = max(1, ELEMENTS // width)
    with torch.cuda.device_of(x):
        grid = (triton.cdiv(rows, block), x.numel() // (rows * width))
        _rotate[grid](x, cos, sin, out, rows, cos.shape[0], width=width, block=block)
    return out


@triton.jit
def rotated(
    x: tl.tensor,
    rows: tl.tensor,
    inside: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    table_rows: int,
    width: tl.constexpr,
) -> tl.tensor:
    """Return fp32 ``[rows, width]``: those rows of x, each pair turned by the angles of row modulo ``table_rows``."""
    at = rows[:, None] * width + tl.arange(0, width)[None, :]
    values = tl.load(x + at, mask=inside[:, None], other=0.0).to(tl.float32)
    even, odd = tl.split(tl.reshape(values, (rows.shape[0], width // 2, 2)))
    angle = (rows % table_rows)[:, None] * (width // 2) + tl.arange(0, width // 2)[None, :]
    cosine = tl.load(cos + angle)
    sine = tl.load(sin + angle)
    turned = tl.join(even * cosine - odd * sine, odd * cosine + even * sine)
    return tl.reshape(turned, (rows.shape[0], width))


@triton.jit
def _rotate(
    x: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    out: tl.tensor,
    rows: int,
    table_rows: int,
    width: tl.constexpr,
    block: tl.constexpr,
) -> None:
    own = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = own < rows
    before = tl.program_id(1).to(tl.int64) * rows * width
    turned = rotated(x + before, own, inside, cos, sin, table_rows, width)
    at = before + own[:, None] * width + tl.arange(0, width)[None, :]
    tl.store(out + at, turned.to(out.dtype.element_ty), mask=inside[:, None])
