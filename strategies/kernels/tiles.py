"""The tiles that the attention kernel may work in, among which the tuner chooses on a device.

What each takes of a chip is in DESIGN section 8, and compiled anew by ``python -m harness.kernels --compile-only``.
"""

from __future__ import annotations

from typing import Literal

import triton

WIDE_VALUES = 128
"""Values from this width on need tiles of their own, as their sums take the registers that `ahead` would."""

Loop = Literal["plain", "ahead", "specialised"]
"""How a program goes through the keys.

plain: a tile's scores, softmax and sum in turn. ahead: the next tile's scores are issued before this tile's softmax
(FlashAttention-3 calls it intra-warpgroup pipelining). specialised: some warps do nothing but copy, by descriptors of
the tensor memory accelerator (TMA), and two groups of four warps compute, each half of the queries at its own pace
(FlashAttention-3's warp specialisation). Triton specialises tiles of four warps, and silently leaves those of eight.
"""


def tile(
    block_q: int, block_k: int, columns: int, warps: int, stages: int, *, loop: Loop, precision: str = "ieee"
) -> triton.Config:
    """Make a tile of so many queries and keys, whose output's product is made so many columns at a time.

    precision: of products of fp32; ``tf32x3`` gives matrix units each factor in two parts of TF32, in three products.
    """
    blocks = {"block_q": block_q, "block_k": block_k, "block_columns": columns, "loop": loop, "precision": precision}
    return triton.Config(blocks, num_warps=warps, num_stages=stages)


HALF = (
    tile(128, 64, 64, 8, 3, loop="ahead"),
    tile(128, 64, 64, 8, 2, loop="ahead"),
    tile(128, 64, 64, 8, 3, loop="plain"),
    tile(128, 32, 64, 8, 3, loop="ahead"),
    tile(64, 64, 64, 4, 2, loop="ahead"),
    tile(64, 32, 64, 4, 3, loop="ahead"),
)
"""Tiles for bf16 and fp16. Compiled for an H100 (Triton 3.6 and 3.7, keys of 256, values of 64), no loop spills
registers or makes its matrix products wait for each other; two programs of 64 queries share a processor."""

HALF_SPECIALISED = (tile(128, 64, 64, 4, 3, loop="specialised"),)
"""Tiles for bf16 and fp16 on chips with TMA, beside `HALF`."""

HALF_WIDE = (
    tile(128, 32, 64, 8, 3, loop="ahead"),
    tile(128, 64, 64, 8, 2, loop="plain"),
    tile(128, 32, 64, 8, 2, loop="plain"),
    tile(64, 32, 64, 4, 2, loop="plain"),
)
"""Tiles for bf16 and fp16 and values of 256, none of which spills on an H100. The first keeps its products from waiting
there, but spills thousands of bytes where a product's sums are in the registers of one warp (sm_80 and sm_89), so the
last, which fits every chip, is for those."""

SINGLE = (tile(32, 32, 32, 4, 1, loop="plain"), tile(32, 32, 32, 8, 1, loop="plain"))
"""Tiles for fp32, whose products take no matrix units and keep whole rows in registers. From 64 queries on, Triton 3.7
gives products of fp32 to the matrix units of sm_100 as TF32, although it was asked not to."""

SINGLE_TF32 = (
    tile(64, 32, 32, 8, 1, loop="plain", precision="tf32x3"),
    tile(16, 32, 32, 4, 1, loop="plain", precision="tf32x3"),
)
"""Tiles for fp32 and values of 64 beside `SINGLE`, on matrix units: the first for sm_90, where it does not spill, the
second for all. Triton adds the three products of a tile to the sums before it outside the matrix units, which cut off
where they add, so that the error stays that of `SINGLE` (DESIGN section 8)."""


def tiles_for(
    element_bytes: int, value_width: int, *, descriptors: bool = False, tf32: bool = False
) -> tuple[triton.Config, ...]:
    """Return the tiles for elements of so many bytes and values that wide.

    descriptors: whether the chip copies by TMA, and takes these tensors. tf32: whether its matrix units take TF32.
    """
    wide = value_width >= WIDE_VALUES
    if element_bytes == 4:
        return (*SINGLE, *SINGLE_TF32) if tf32 and not wide else SINGLE
    if wide:
        return HALF_WIDE
    return (*HALF, *HALF_SPECIALISED) if descriptors else HALF


def name_of(one: triton.Config) -> str:
    """Return a tile in words: queries x keys, warps, stages, and what is special about its loop and products."""
    blocks = one.kwargs
    words = [f"{blocks['block_q']}x{blocks['block_k']}", f"w{one.num_warps}", f"s{one.num_stages}"]
    words += [blocks["loop"]] * (blocks["loop"] != "plain") + [blocks["precision"]] * (blocks["precision"] != "ieee")
    return " ".join(words)
