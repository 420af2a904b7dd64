"""Attention of many queries over few, shared banks of keys in one Triton kernel, from rotary encoding to residual.

Prologue: a tile of queries takes its rotary encoding and stays in registers. Loop: tiles of keys and values, each read
once for all queries of the tile, softmax online in base 2 and fp32 (FlashAttention-2). Epilogue: the output's product,
bias and residual, in chunks of columns so that it needs no more registers than the loop.

Values may be narrower than keys; SAM2's raw memory is 64 wide under keys of 256, which is what leaves registers for
`ahead`: the next tile's scores are issued before this tile's softmax, so that matrix units and exponentials overlap
(FlashAttention-3 calls it intra-warpgroup pipelining).

Deterministic: each output element is summed by one program in one order. Which tile a process takes is the tuner's
measurement, kept on disk with Triton's own cache; another tile is another order of summation. It is measured on drawn
inputs of many queries, whatever the batch that comes first, so that no later batch has to live with another's tile.
"""

from __future__ import annotations

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from strategies.kernels.rotary import rotated
from strategies.kernels.tiles import WIDE_VALUES, tile, tiles_for

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)

TUNING_QUERIES = 65_536
"""The queries with which tiles are measured: 16 targets at 1024 px, which is almost four rounds of an H100's tiles."""


def attend(
    query: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor,
    *,
    scale: float,
) -> Tensor:
    """Return ``residual + softmax(scale * rotate(query) keys^T) values weight^T + bias``, ``[G, N, C]``.

    The result has residual's dtype.
    query: ``[G, N, D]``, not yet rotated, or ``[1, N, D]`` for all groups; cos and sin: fp32 ``[L, D/2]``, query n
    takes row ``n % L``; keys: ``[G, M, D]``, rotated where they should be; values: ``[G, M, V]``; weight: ``[C, V]``;
    bias: ``[C]``; residual: ``[G, N, C]``, or ``[1, N, C]`` for all groups. All are contiguous; query, keys, values and
    weight share one dtype, in which products are taken with fp32 sums; D, V and C are powers of two from 16 on.
    """
    _check(query, keys, values, weight, residual, cos, sin, bias)
    if len(_kernel(query, values).configs) > 1:
        widths = keys.shape[2], values.shape[2], weight.shape[0]
        _tune(query.device, query.dtype, bias.dtype, residual.dtype, widths, _bucket(keys.shape[1]))
    return _launch(query, cos, sin, keys, values, weight, bias, residual, scale=scale)


@functools.cache
def _tune(
    device: torch.device,
    dtype: torch.dtype,
    of_bias: torch.dtype,
    of_residual: torch.dtype,
    widths: tuple[int, int, int],
    count: int,
) -> None:
    """Have the tuner choose a tile, once a process, for inputs of these dtypes and widths and so many keys."""
    width, value_width, columns = widths
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int, of: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device).to(of)

    angles = normal(TUNING_QUERIES // 16, width // 2, of=torch.float32)
    _launch(
        normal(1, TUNING_QUERIES, width),
        angles.cos(),
        angles.sin(),
        normal(1, count, width),
        normal(1, count, value_width),
        normal(columns, value_width),
        normal(columns, of=of_bias),
        normal(1, TUNING_QUERIES, columns, of=of_residual),
        scale=width**-0.5,
    )


def _launch(
    query: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor,
    *,
    scale: float,
) -> Tensor:
    groups, count, width = keys.shape
    queries, columns = residual.shape[1:]
    out = residual.new_empty(groups, queries, columns)
    with torch.cuda.device_of(query):
        _kernel(query, values)[lambda blocks: (triton.cdiv(queries, blocks["block_q"]), groups)](
            query,
            cos,
            sin,
            keys,
            values,
            weight,
            bias,
            residual,
            out,
            _step(query),
            _step(residual),
            queries,
            cos.shape[0],
            count,
            _bucket(count),
            scale * math.log2(math.e),
            width=width,
            value_width=values.shape[2],
            columns=columns,
        )
    return out


def _kernel(query: Tensor, values: Tensor) -> triton.runtime.Autotuner:
    return tuner(query.element_size(), wide=values.shape[2] >= WIDE_VALUES)


def _bucket(count: int) -> int:
    """Return the number of keys by which so many are tuned."""
    return max(16, triton.next_power_of_2(count))


def _step(x: Tensor) -> int:
    """Return the number of elements from one group to the next, 0 where all groups share one."""
    return 0 if x.shape[0] == 1 else x.stride(0)


def _check(query: Tensor, keys: Tensor, values: Tensor, weight: Tensor, residual: Tensor, *tables: Tensor) -> None:
    """Raise ValueError for what the kernel would silently read wrongly."""
    (groups, count, width), columns, queries = keys.shape, weight.shape[0], query.shape[1]
    cos, sin, bias = tables
    fit = (
        query.shape[0] in (1, groups)
        and residual.shape[0] in (1, groups)
        and query.shape[2] == width
        and values.shape[:2] == (groups, count)
        and weight.shape[1] == values.shape[2]
        and residual.shape[1:] == (queries, columns)
        and cos.shape == sin.shape == (cos.shape[0], width // 2)
        and bias.shape == (columns,)
    )
    if not fit:
        shapes = [tuple(x.shape) for x in (query, keys, values, weight, residual, *tables)]
        raise ValueError(f"query, keys, values, weight, residual, cos, sin and bias do not fit together: {shapes}")
    widths = (width, values.shape[2], columns)
    if any(each < 16 or each & (each - 1) for each in widths):
        raise ValueError(f"widths of keys, values and output must be powers of two from 16 on, not {widths}")
    if len({x.dtype for x in (query, keys, values, weight)}) > 1:
        raise ValueError(f"query, keys, values and weight differ in dtype: {query.dtype}, {keys.dtype}, ...")
    if not all(x.is_contiguous() for x in (query, keys, values, weight, residual, *tables)):
        raise ValueError("all tensors must be contiguous")


@triton.jit
def _attention(
    query: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    query_step: int,
    residual_step: int,
    queries: int,
    table_rows: int,
    count: int,
    count_bucket: int,  # unused here: the tuner measures anew for each
    scale: float,  # of scores in base 2
    width: tl.constexpr,
    value_width: tl.constexpr,
    columns: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    block_columns: tl.constexpr,
    ahead: tl.constexpr,
) -> None:
    group = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0).to(tl.int64) * block_q + tl.arange(0, block_q)
    inside = rows < queries
    q = rotated(query + group * query_step, rows, inside, cos, sin, table_rows, width).to(keys.dtype.element_ty)
    keys += group * count * width
    values += group * count * value_width

    peak = tl.full((block_q,), float("-inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    mean = tl.zeros((block_q, value_width), tl.float32)  # times total
    last = (count - 1) // block_k * block_k
    if ahead:
        scores = _scores(q, keys, 0, count, width, block_k)
        for start in tl.range(0, last, block_k):
            following = _scores(q, keys, start + block_k, count, width, block_k)
            v = _rows(values, start, count, value_width, block_k)
            peak, total, mean = _take_in(scores, v, peak, total, mean, scale)
            scores = following
        scores = _without_the_end(scores, last, count, block_k)
        v = _rows(values, last, count, value_width, block_k)
        peak, total, mean = _take_in(scores, v, peak, total, mean, scale)
    else:
        for start in tl.range(0, count, block_k):
            scores = _scores(q, keys, start, count, width, block_k)
            if start == last:
                scores = _without_the_end(scores, start, count, block_k)
            v = _rows(values, start, count, value_width, block_k)
            peak, total, mean = _take_in(scores, v, peak, total, mean, scale)

    attended = (mean / total[:, None]).to(weight.dtype.element_ty)
    chunk: tl.constexpr = block_columns if block_columns < columns else columns
    for first in tl.range(0, columns, chunk, num_stages=1):
        column = first + tl.arange(0, chunk)
        w = tl.load(weight + column[:, None] * value_width + tl.arange(0, value_width)[None, :])
        result = _product(attended, tl.trans(w), tl.zeros((block_q, chunk), tl.float32))
        at = rows[:, None] * columns + column[None, :]
        result += tl.load(bias + column)[None, :]
        result += tl.load(residual + group * residual_step + at, mask=inside[:, None], other=0.0)
        tl.store(out + group * queries * columns + at, result.to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def _scores(
    q: tl.tensor, keys: tl.tensor, start: tl.tensor, count: int, width: tl.constexpr, block_k: tl.constexpr
) -> tl.tensor:
    """Return the scores of a tile, ``[block_q, block_k]``, with 0 for keys past the end."""
    k = _rows(keys, start, count, width, block_k)
    return _product(q, tl.trans(k), tl.zeros((q.shape[0], block_k), tl.float32))


@triton.jit
def _without_the_end(scores: tl.tensor, start: tl.tensor, count: int, block_k: tl.constexpr) -> tl.tensor:
    """Set the scores of keys past the end to -inf, so that they get no share."""
    return tl.where((start + tl.arange(0, block_k) < count)[None, :], scores, float("-inf"))


@triton.jit
def _take_in(
    scores: tl.tensor, v: tl.tensor, peak: tl.tensor, total: tl.tensor, mean: tl.tensor, scale: float
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Go on with the online softmax by one tile: its running maximum, sum of weights and weighted sum of values."""
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    shares = tl.exp2(scores * scale - higher[:, None])
    shrink = tl.exp2(peak - higher)
    mean = _product(shares.to(v.dtype), v, mean * shrink[:, None])
    return higher, total * shrink + tl.sum(shares, 1), mean


@triton.jit
def _rows(x: tl.tensor, start: tl.tensor, count: int, width: tl.constexpr, block: tl.constexpr) -> tl.tensor:
    """Load ``[block, width]`` of x from row ``start`` on, with 0 past the end."""
    rows = start + tl.arange(0, block)
    at = rows[:, None] * width + tl.arange(0, width)[None, :]
    return tl.load(x + at, mask=(rows < count)[:, None], other=0.0)


@triton.jit
def _product(a: tl.tensor, b: tl.tensor, onto: tl.tensor) -> tl.tensor:
    """Return ``onto + a b``, summed in fp32."""
    if INTERPRETED:  # its numpy knows no bf16 and would multiply the bits; widening changes no product
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, onto, input_precision="ieee")


def tuned(tiles: tuple[triton.Config, ...]) -> triton.runtime.Autotuner:
    """Return the kernel with the fastest of these tiles.

    They are measured anew for each pair of widths and each power of two of keys, but not for each number of queries:
    then a batch of another size could take another tile, and round differently.
    """
    key = ["width", "value_width", "columns", "count_bucket"]
    return triton.autotune(list(tiles), key=key, cache_results=True)(_attention)


@functools.cache
def tuner(element_bytes: int, *, wide: bool) -> triton.runtime.Autotuner:
    """Return the kernel for elements of so many bytes and values that are wide or not (`WIDE_VALUES`)."""
    if INTERPRETED:  # nothing can be measured
        return tuned((tile(64, 32, 32, 4, 1, ahead=element_bytes == 2),))
    return tuned(tiles_for(element_bytes, WIDE_VALUES if wide else 0))
