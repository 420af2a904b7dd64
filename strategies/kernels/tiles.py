"""The tiles that the attention kernel may work in, among which the tuner chooses on a device.

What each takes of a chip is in DESIGN section 8, and compiled anew by ``python -m harness.kernels --compile-only``.
"""

from __future__ import annotations

import triton

WIDE_VALUES = 128
"""Values from this width on need tiles of their own, as their sums take the registers that `ahead` would."""


def tile(block_q: int, block_k: int, columns: int, warps: int, stages: int, *, ahead: bool) -> triton.Config:
    """Make a tile of so many queries and keys, whose output's product is made so many columns at a time."""
    blocks = {"block_q": block_q, "block_k": block_k, "block_columns": columns, "ahead": ahead}
    return triton.Config(blocks, num_warps=warps, num_stages=stages)


HALF = (
    tile(128, 64, 64, 8, 3, ahead=True),
    tile(128, 64, 64, 8, 2, ahead=True),
    tile(128, 64, 64, 8, 3, ahead=False),
    tile(128, 32, 64, 8, 3, ahead=True),
    tile(64, 64, 64, 4, 2, ahead=True),
    tile(64, 32, 64, 4, 3, ahead=True),
)
"""Tiles for bf16 and fp16. Compiled for an H100 (Triton 3.6 and 3.7, keys of 256, values of 64), no loop spills
registers or makes its matrix products wait for each other; two programs of 64 queries share a processor."""

HALF_WIDE = (
    tile(128, 32, 64, 8, 3, ahead=True),
    tile(128, 64, 64, 8, 2, ahead=False),
    tile(128, 32, 64, 8, 2, ahead=False),
    tile(64, 32, 64, 4, 2, ahead=False),
)
"""Tiles for bf16 and fp16 and values of 256, none of which spills on an H100. The first keeps its products from waiting
there, but spills thousands of bytes where a product's sums are in the registers of one warp (sm_80 and sm_89), so the
last, which fits every chip, is for those."""

SINGLE = (tile(32, 32, 32, 4, 1, ahead=False), tile(32, 32, 32, 8, 1, ahead=False))
"""Tiles for fp32, whose products take no matrix units and keep whole rows in registers. From 64 queries on, Triton 3.7
gives products of fp32 to the matrix units of sm_100 as TF32, although it was asked not to."""


def tiles_for(element_bytes: int, value_width: int) -> tuple[triton.Config, ...]:
    """Return the tiles for elements of so many bytes and values that wide."""
    if element_bytes == 4:
        return SINGLE
    return HALF_WIDE if value_width >= WIDE_VALUES else HALF


def name_of(one: triton.Config) -> str:
    """Return a tile in words: queries x keys, warps, stages, and whether scores are ahead of the softmax."""
    blocks = one.kwargs
    ahead = " ahead" if blocks["ahead"] else ""
    return f"{blocks['block_q']}x{blocks['block_k']} w{one.num_warps} s{one.num_stages}{ahead}"
