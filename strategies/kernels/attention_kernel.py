"""The attention kernel, from rotary encoding to residual, and the kernel that merges what its parts of the keys found.

Prologue: a tile of queries takes its rotary encoding and stays in registers. Loop: tiles of keys and values, each read
once for all queries of the tile, softmax online in base 2 and fp32 (FlashAttention-2). Epilogue: the output's product,
bias and residual, in chunks of columns so that it needs no more registers than the loop.

Keys and values in 8 bits are loaded so and widened in registers, which loses nothing (`components.quantised`). A key's
scale multiplies its scores after their product, and a value's scale its shares before theirs.

Where keys are split, a program goes through a part of them and stores its running maximum, sum and weighted values;
`merge` puts the parts together and has the epilogue (Flash-Decoding). The specialised loop leaves its epilogue to
`merge`, too, also where there is one part: Triton 3.7 fails to specialise a kernel in which another product loads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from strategies.kernels.rotary import rotated

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


ABOVE_SUBNORMAL = tl.constexpr(64.0)
"""By so much shares are larger while they carry the scales of values in 8 bits, which are far below 1: in fp16 small
ones would lose their bits. A share at the scale of the largest number of fp16, a 127th of it, still fits."""


@triton.jit
def attention(
    query: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor | None,
    value_scales: tl.tensor | None,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    peaks: tl.tensor | None,
    totals: tl.tensor | None,
    means: tl.tensor | None,
    query_step: int,
    residual_step: int,
    queries: int,
    table_rows: int,
    count: int,
    count_bucket: int,  # unused here: the tuner measures anew for each
    parts: int,
    scale: float,  # of scores in base 2
    width: tl.constexpr,
    value_width: tl.constexpr,
    columns: tl.constexpr,
    split: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    block_columns: tl.constexpr,
    loop: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """Attend, a tile of queries a program; the grid is tiles of queries, groups, and parts of the keys.

    peaks and totals ``[parts, G, N]`` and means ``[parts, G, N, V]``, fp32, are written where `merge` follows: for keys
    in parts, and by the ``specialised`` loop, whose query is rotated already. out is written everywhere else.
    key_scales and value_scales ``[G, M]``, fp32, are those of keys and values in 8 bits.
    """
    group = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0).to(tl.int64) * block_q + tl.arange(0, block_q)
    inside = rows < queries
    query += group * query_step
    keys += group * count * width
    values += group * count * value_width
    if key_scales is not None:
        key_scales += group * count
        value_scales += group * count
    first = 0
    end = count
    if split:
        length = tl.cdiv(tl.cdiv(count, block_k), parts) * block_k
        first = tl.program_id(2) * length
        end = tl.minimum(count, first + length)

    if loop == "specialised":
        peak, total, mean = _specialised(
            *(query, keys, values, key_scales, value_scales, queries, count, first, end, scale),
            *(width, value_width, block_q, block_k, precision),
        )
    else:
        q = rotated(query, rows, inside, cos, sin, table_rows, width).to(query.dtype.element_ty)
        if loop == "ahead":
            peak, total, mean = _ahead(
                *(q, keys, values, key_scales, value_scales, first, end, scale),
                *(width, value_width, block_k, precision),
            )
        else:
            peak, total, mean = _plain(
                *(q, keys, values, key_scales, value_scales, first, end, scale),
                *(width, value_width, block_k, precision),
            )

    if value_scales is not None:
        mean /= ABOVE_SUBNORMAL
    if split or loop == "specialised":
        at = (tl.program_id(2) * tl.num_programs(1) + group) * queries + rows
        tl.store(peaks + at, peak, mask=inside)
        tl.store(totals + at, total, mask=inside)
        tl.store(means + at[:, None] * value_width + tl.arange(0, value_width)[None, :], mean, mask=inside[:, None])
    else:
        attended = (mean / total[:, None]).to(weight.dtype.element_ty)
        residual += group * residual_step
        out += group * queries * columns
        _finish(attended, weight, bias, residual, out, rows, inside, value_width, columns, block_columns, precision)


@triton.jit
def merge(
    peaks: tl.tensor,
    totals: tl.tensor,
    means: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    residual_step: int,
    queries: int,
    parts: int,
    value_width: tl.constexpr,
    columns: tl.constexpr,
    block_q: tl.constexpr,
    block_columns: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """Merge parts of the keys by their maxima, and finish; the grid is tiles of queries, and groups."""
    group = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0).to(tl.int64) * block_q + tl.arange(0, block_q)
    inside = rows < queries
    peak = tl.full((block_q,), float("-inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    mean = tl.zeros((block_q, value_width), tl.float32)
    for part in range(parts):
        at = (part * tl.num_programs(1) + group) * queries + rows
        its_peak = tl.load(peaks + at, mask=inside, other=0.0)
        its_total = tl.load(totals + at, mask=inside, other=1.0)
        columns_of = at[:, None] * value_width + tl.arange(0, value_width)[None, :]
        its_mean = tl.load(means + columns_of, mask=inside[:, None], other=0.0)
        higher = tl.maximum(peak, its_peak)
        before = tl.exp2(peak - higher)
        now = tl.exp2(its_peak - higher)
        total = total * before + its_total * now
        mean = mean * before[:, None] + its_mean * now[:, None]
        peak = higher
    attended = (mean / total[:, None]).to(weight.dtype.element_ty)
    residual += group * residual_step
    out += group * queries * columns
    _finish(attended, weight, bias, residual, out, rows, inside, value_width, columns, block_columns, precision)


@triton.jit
def _plain(
    q: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor | None,
    value_scales: tl.tensor | None,
    first: int,
    end: int,
    scale: float,
    width: tl.constexpr,
    value_width: tl.constexpr,
    block_k: tl.constexpr,
    precision: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Go through keys from ``first`` to ``end``, tile by tile; see `tiles.Loop`."""
    peak, total, mean = _nothing(q.shape[0], value_width)
    last = first + (end - first - 1) // block_k * block_k
    for start in tl.range(first, end, block_k):
        scores = _scores(q, _rows(keys, start, end, width, block_k), precision)
        if start == last:
            scores = _without_the_end(scores, start, end)
        v = _widened(_rows(values, start, end, value_width, block_k), q.dtype)
        k_scales = _scales(key_scales, start, end, block_k)
        v_scales = _scales(value_scales, start, end, block_k)
        peak, total, mean = _take_in(scores, v, k_scales, v_scales, peak, total, mean, scale, precision)
    return peak, total, mean


@triton.jit
def _ahead(
    q: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor | None,
    value_scales: tl.tensor | None,
    first: int,
    end: int,
    scale: float,
    width: tl.constexpr,
    value_width: tl.constexpr,
    block_k: tl.constexpr,
    precision: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Do what `_plain` does, with the next tile's scores issued before this tile's softmax."""
    peak, total, mean = _nothing(q.shape[0], value_width)
    last = first + (end - first - 1) // block_k * block_k
    scores = _scores(q, _rows(keys, first, end, width, block_k), precision)
    for start in tl.range(first, last, block_k):
        following = _scores(q, _rows(keys, start + block_k, end, width, block_k), precision)
        v = _widened(_rows(values, start, end, value_width, block_k), q.dtype)
        k_scales = _scales(key_scales, start, end, block_k)
        v_scales = _scales(value_scales, start, end, block_k)
        peak, total, mean = _take_in(scores, v, k_scales, v_scales, peak, total, mean, scale, precision)
        scores = following
    scores = _without_the_end(scores, last, end)
    v = _widened(_rows(values, last, end, value_width, block_k), q.dtype)
    k_scales = _scales(key_scales, last, end, block_k)
    v_scales = _scales(value_scales, last, end, block_k)
    return _take_in(scores, v, k_scales, v_scales, peak, total, mean, scale, precision)


@triton.jit
def _specialised(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_scales: tl.tensor | None,
    value_scales: tl.tensor | None,
    queries: int,
    count: int,
    first: int,
    end: int,
    scale: float,
    width: tl.constexpr,
    value_width: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    precision: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Do what `_plain` does, with warps that only copy, by descriptors, and a query that is rotated already."""
    q_tiles = tl.make_tensor_descriptor(query, [queries, width], [width, 1], [block_q, width])
    k_tiles = tl.make_tensor_descriptor(keys, [count, width], [width, 1], [block_k, width])
    v_tiles = tl.make_tensor_descriptor(values, [count, value_width], [value_width, 1], [block_k, value_width])
    q = q_tiles.load([tl.program_id(0) * block_q, 0])
    peak, total, mean = _nothing(block_q, value_width)
    for start in tl.range(first, end, block_k, warp_specialize=True):
        scores = _without_the_end(_scores(q, k_tiles.load([start, 0]), precision), start, end)
        v = _widened(v_tiles.load([start, 0]), q.dtype)
        k_scales = _scales(key_scales, start, end, block_k)
        v_scales = _scales(value_scales, start, end, block_k)
        peak, total, mean = _take_in(scores, v, k_scales, v_scales, peak, total, mean, scale, precision)
    return peak, total, mean


@triton.jit
def _nothing(block_q: tl.constexpr, value_width: tl.constexpr) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the softmax of no keys: its maximum, its sum of weights, and the weighted sum of values."""
    peak = tl.full((block_q,), float("-inf"), tl.float32)
    return peak, tl.zeros((block_q,), tl.float32), tl.zeros((block_q, value_width), tl.float32)


@triton.jit
def _scores(q: tl.tensor, k: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    """Return the scores of a tile, ``[block_q, block_k]``, without their keys' scales, with 0 for keys past the end."""
    k = _widened(k, q.dtype)
    return _product(q, tl.trans(k), tl.zeros((q.shape[0], k.shape[0]), tl.float32), precision)


@triton.jit
def _without_the_end(scores: tl.tensor, start: tl.tensor, end: int) -> tl.tensor:
    """Set the scores of keys past the end to -inf, so that they get no share."""
    return tl.where((start + tl.arange(0, scores.shape[1]) < end)[None, :], scores, float("-inf"))


@triton.jit
def _take_in(
    scores: tl.tensor,
    v: tl.tensor,
    k_scales: tl.tensor | None,
    v_scales: tl.tensor | None,
    peak: tl.tensor,
    total: tl.tensor,
    mean: tl.tensor,
    scale: float,
    precision: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Go on with the online softmax by one tile: its running maximum, sum of weights and weighted sum of values."""
    if k_scales is not None:
        scores *= k_scales[None, :]
    higher = tl.maximum(peak, tl.max(scores, 1) * scale)
    shares = tl.exp2(scores * scale - higher[:, None])
    shrink = tl.exp2(peak - higher)
    weights = shares if v_scales is None else shares * (v_scales * ABOVE_SUBNORMAL)[None, :]
    mean = _product(weights.to(v.dtype), v, mean * shrink[:, None], precision)
    return higher, total * shrink + tl.sum(shares, 1), mean


@triton.jit
def _rows(x: tl.tensor, start: tl.tensor, end: int, width: tl.constexpr, block: tl.constexpr) -> tl.tensor:
    """Load ``[block, width]`` of x from row ``start`` on, with 0 past the end."""
    rows = start + tl.arange(0, block)
    at = rows[:, None] * width + tl.arange(0, width)[None, :]
    return tl.load(x + at, mask=(rows < end)[:, None], other=0.0)


@triton.jit
def _widened(x: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Return keys or values in the dtype of products, which holds numbers of 8 bits as they are."""
    if INTERPRETED:  # its numpy knows no bf16 and would take whole numbers for its bits
        x = x.to(tl.float32)
    return x.to(dtype)


@triton.jit
def _scales(x: tl.tensor | None, start: tl.tensor, end: int, block: tl.constexpr) -> tl.tensor | None:
    """Load ``block`` scales from row ``start`` on, with 1 past the end; None where there are none."""
    scales = None
    if x is not None:
        rows = start + tl.arange(0, block)
        scales = tl.load(x + rows, mask=rows < end, other=1.0)
    return scales


@triton.jit
def _product(a: tl.tensor, b: tl.tensor, onto: tl.tensor, precision: tl.constexpr) -> tl.tensor:
    """Return ``onto + a b``, summed in fp32."""
    if INTERPRETED:  # its numpy knows no bf16 and would multiply the bits; widening changes no product
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, onto, input_precision=precision)


@triton.jit
def _finish(
    attended: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    inside: tl.tensor,
    value_width: tl.constexpr,
    columns: tl.constexpr,
    block_columns: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """Store the output's product with bias and residual added, a chunk of columns at a time."""
    chunk: tl.constexpr = block_columns if block_columns < columns else columns
    for first in tl.range(0, columns, chunk, num_stages=1):
        column = first + tl.arange(0, chunk)
        w = tl.load(weight + column[:, None] * value_width + tl.arange(0, value_width)[None, :])
        result = _product(attended, tl.trans(w), tl.zeros((rows.shape[0], chunk), tl.float32), precision)
        at = rows[:, None] * columns + column[None, :]
        result += tl.load(bias + column)[None, :]
        result += tl.load(residual + at, mask=inside[:, None], other=0.0)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=inside[:, None])
