"""The launch of the attention kernel: its operands, and the plan by which it works."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import triton
from torch import Tensor
from triton.runtime import KernelInterface

from strategies.components.quantised import BITS_8, KV
from strategies.kernels.attention_kernel import attention, merge
from strategies.kernels.rotary import rotate
from strategies.kernels.tiles import name_of

MERGED_QUERIES = 32
"""The queries of a program that merges, few, because there are few where keys are split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """What is attended to, and what is added, as `attention.attend` documents them."""

    query: Tensor
    cos: Tensor
    sin: Tensor
    keys: Tensor
    values: Tensor
    weight: Tensor
    bias: Tensor
    residual: Tensor
    scale: float
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    @property
    def groups(self) -> int:
        return self.keys.shape[0]

    @property
    def queries(self) -> int:
        return self.residual.shape[1]

    @property
    def kv(self) -> KV:
        """In how many bits keys and values are."""
        return next((kv for kv, dtype in BITS_8.items() if dtype == self.keys.dtype), "own")

    @property
    def count(self) -> int:
        """The number of keys."""
        return self.keys.shape[1]

    @property
    def widths(self) -> tuple[int, int, int]:
        """The widths of keys, values and output."""
        return self.keys.shape[2], self.values.shape[2], self.weight.shape[0]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the kernel works: in which tile, and in how many parts each query's keys are split over programs."""

    tile: triton.Config
    parts: int = 1

    @property
    def name(self) -> str:
        return name_of(self.tile) + (f", {self.parts} parts" if self.parts > 1 else "")


def run(of: Operands, plan: Plan) -> Tensor:
    """Return what `attention.attend` does, by the plan."""
    blocks = plan.tile.kwargs
    parts = used_parts(of.count, blocks["block_k"], plan.parts)
    specialised = blocks["loop"] == "specialised"
    if specialised:
        of = replace(of, query=rotate(of.query, of.cos, of.sin))
    out = of.residual.new_empty(of.groups, *of.residual.shape[1:])
    found = room_for_parts(of, parts) if specialised or parts > 1 else None
    attend_in_parts(attention, of, out, found, parts=parts, **plan.tile.all_kwargs())
    if found is not None:
        merge_parts(of, out, found, block_columns=blocks["block_columns"], precision=blocks["precision"])
    return out


def used_parts(count: int, block_k: int, parts: int) -> int:
    """Return into how many parts, at most so many and none of them empty, keys in tiles of ``block_k`` are split."""
    tiles = triton.cdiv(count, block_k)
    return triton.cdiv(tiles, triton.cdiv(tiles, parts))


Found = tuple[Tensor, Tensor, Tensor]
"""What programs found in their parts of the keys: maxima and sums ``[parts, G, N]``, values ``[parts, G, N, V]``."""


def room_for_parts(of: Operands, parts: int) -> Found:
    rows = parts, of.groups, of.queries
    return of.cos.new_empty(rows), of.cos.new_empty(rows), of.cos.new_empty(*rows, of.widths[1])


def attend_in_parts(
    kernel: KernelInterface,
    of: Operands,
    out: Tensor,
    found: Found | None,
    *,
    parts: int,
    **blocks: object,
) -> None:
    """Launch the kernel, or the tuner around it, which has the blocks itself."""
    width, value_width, columns = of.widths

    def grid(chosen: dict[str, int]) -> tuple[int, int, int]:
        return (
            triton.cdiv(of.queries, chosen["block_q"]),
            of.groups,
            used_parts(of.count, chosen["block_k"], parts),
        )

    with torch.cuda.device_of(of.query):
        triton.set_allocator(_room_for_descriptors)  # It is the thread's, and used by specialised tiles alone.
        kernel[grid](
            of.query,
            of.cos,
            of.sin,
            of.keys,
            of.values,
            of.key_scales,
            of.value_scales,
            of.weight,
            of.bias,
            of.residual,
            out,
            *(found or (None, None, None)),
            _step(of.query),
            _step(of.residual),
            of.queries,
            of.cos.shape[0],
            of.count,
            bucket(of.count),
            parts,
            of.scale * math.log2(math.e),
            width=width,
            value_width=value_width,
            columns=columns,
            split=parts > 1,
            **blocks,
        )


def merge_parts(of: Operands, out: Tensor, found: Found, *, block_columns: int, precision: str) -> None:
    """Launch the kernel that merges what was found, and finishes."""
    _, value_width, columns = of.widths
    with torch.cuda.device_of(of.query):
        merge[(triton.cdiv(of.queries, MERGED_QUERIES), of.groups)](
            *found,
            of.weight,
            of.bias,
            of.residual,
            out,
            _step(of.residual),
            of.queries,
            found[0].shape[0],
            value_width=value_width,
            columns=columns,
            block_q=MERGED_QUERIES,
            block_columns=block_columns,
            precision=precision,
        )


def bucket(count: int) -> int:
    """Return the number of keys by which so many are tuned."""
    return max(16, triton.next_power_of_2(count))


def _step(x: Tensor) -> int:
    """Return the number of elements from one group to the next, 0 where all groups share one."""
    return 0 if x.shape[0] == 1 else x.stride(0)


def _room_for_descriptors(size: int, alignment: int, stream: int | None) -> Tensor:
    """Return memory on the current device for the descriptors that programs make; torch aligns more than is asked."""
    return torch.empty(size, dtype=torch.int8, device="cuda")
